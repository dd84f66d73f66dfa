-- Schema version 1. Applied to every shard by `orderctl schema apply`.

-- One row an order that is not archived yet. The numbers of the ENUMs are those of the record.
CREATE TABLE orders (
    order_id BIGINT UNSIGNED NOT NULL,
    partner_code VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    partner_order_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount BIGINT UNSIGNED NOT NULL,
    currency CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    payment_type ENUM('pay_with_bank', 'pay_with_card', 'pay_with_wallet')
        CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    bank_code VARCHAR(12) CHARACTER SET ascii COLLATE ascii_bin NULL,
    status ENUM('pending', 'processing', 'success', 'cancel', 'timeout', 'error')
        CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    version INT UNSIGNED NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    requested_at DATETIME(6) NULL,
    responded_at DATETIME(6) NULL,
    PRIMARY KEY (order_id)
) ENGINE = InnoDB;

-- Which order a partner's reference has, for the idempotency window; archived orders included.
CREATE TABLE order_refs (
    partner_code VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    partner_order_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    order_id BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (partner_code, partner_order_id),
    KEY order_id (order_id)
) ENGINE = InnoDB;

-- Who may give ids with which node number (shard 0 only). A row is never removed: its highest_tick
-- keeps the next holder from repeating an id.
CREATE TABLE nodes (
    node SMALLINT UNSIGNED NOT NULL,
    holder VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    lease_until DATETIME(6) NOT NULL,
    highest_tick BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (node)
) ENGINE = InnoDB;

-- Where each pipeline is, and who holds the lease to move it.
CREATE TABLE positions (
    name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    owner VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    lease_until DATETIME(6) NOT NULL,
    position VARCHAR(1024) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB;

-- What every instance must agree on: schema_version, shards, shard.
CREATE TABLE settings (
    name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    value VARCHAR(256) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB;
