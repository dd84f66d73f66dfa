# Completion for orderctl in bash: commands, options, statuses, the benches, files.
#
#     source deploy/completion/orderctl.bash
#
# or put it where bash looks by itself: /usr/share/bash-completion/completions/orderctl.
# tests/integration/test_orderctl_completion.py holds it against what the program says of itself.

# The commands.
_orderctl_commands() {
    echo "create get find set watch stats import verify schema relay audit bench help"
}

# _orderctl_options COMMAND: its options, and those that every command has.
_orderctl_options() {
    local options=
    case $1 in
    create) options="--partner-code --partner-order-id --amount --currency --payment-type --bank-code" ;;
    get) options="--min-version" ;;
    set) options="--if-match --requested-at --responded-at" ;;
    watch) options="--changes --after --limit --retries" ;;
    stats) options="--interval" ;;
    import) options="--parallel --retries" ;;
    verify) options="--window" ;;
    schema) options="--config --set" ;;
    relay) options="--config --set --shard" ;;
    bench)
        options="--connections --batch --depth --seconds --warmup --threads --rate --ids --cpu
            --allow-absent --resp --command --key-prefix --any-value --path --partner-code --orders
            --final --scatter"
        ;;
    esac
    echo "$options --server --timeout --json --help"
}

# _orderctl_is_flag OPTION: true where no value follows it.
_orderctl_is_flag() {
    case $1 in
    --json | --help | --changes | --allow-absent | --any-value | --scatter) return 0 ;;
    esac
    return 1
}

# _orderctl_words WORD LIST: offers the words of the list that begin with WORD.
_orderctl_words() {
    mapfile -t COMPREPLY < <(compgen -W "$2" -- "$1")
}

# _orderctl_value OPTION WORD: offers the values of an option that has a few, or a file.
_orderctl_value() {
    case $1 in
    --payment-type) _orderctl_words "$2" "pay_with_bank pay_with_card pay_with_wallet" ;;
    --command) _orderctl_words "$2" "get mget" ;;
    --ids | --config) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
    esac
}

# _orderctl_positional COMMAND NUMBER WORD: offers what may stand as the command's argument NUMBER.
_orderctl_positional() {
    case $1/$2 in
    set/2) _orderctl_words "$3" "pending processing success cancel timeout error" ;;
    bench/1) _orderctl_words "$3" "statuses get create http-get http-create resp load" ;;
    help/1) _orderctl_words "$3" "$(_orderctl_commands)" ;;
    import/1) mapfile -t COMPREPLY < <(compgen -f -- "$3") ;;
    schema/1) _orderctl_words "$3" "apply" ;;
    schema/2) _orderctl_words "$3" "mysql kafka cassandra" ;;
    relay/1) _orderctl_words "$3" "resnapshot" ;;
    verify/1) mapfile -t COMPREPLY < <(compgen -d -- "$3") ;;
    esac
}

_orderctl() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' positionals=0 at item
    COMPREPLY=()
    # What stands before the word: the command, and how many arguments it has so far.
    for ((at = 1; at < COMP_CWORD; at++)); do
        item=${COMP_WORDS[at]}
        if [[ $item == --* ]]; then
            # The value behind it is no argument. `=` is a word of its own to bash.
            if [[ ${COMP_WORDS[at + 1]} == "=" ]]; then
                ((at += 2))
            elif ! _orderctl_is_flag "$item"; then
                ((at += 1))
            fi
        elif [[ -z $command ]]; then
            command=$item
        else
            ((positionals += 1))
        fi
    done
    if [[ $previous == "=" ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if [[ $word == "=" ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 1]}
        word=''
    fi
    if [[ $previous == --* ]] && ! _orderctl_is_flag "$previous"; then
        _orderctl_value "$previous" "$word"
        return 0
    fi
    if [[ $word == -* ]]; then
        _orderctl_words "$word" "$(_orderctl_options "$command")"
    elif [[ -z $command ]]; then
        _orderctl_words "$word" "$(_orderctl_commands)"
    else
        _orderctl_positional "$command" $((positionals + 1)) "$word"
    fi
}

complete -F _orderctl orderctl
