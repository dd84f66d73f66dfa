"""What deploy/stack/stack is made of, and the clients that it and the tests talk to servers with."""
