-- The ledger. Only bigint and text, times as microseconds since 1970 UTC, numbers given by the
-- program: the same statements run on SQLite and on PostgreSQL.

create table sites (
    id       text   not null primary key,
    key      text   not null,             -- Ed25519, base64, pinned at the first enrolment
    since_us bigint not null
);

-- One row for each journal of a site, and how far it is committed.
create table journals (
    id        bigint not null primary key,
    site      text   not null references sites (id),
    journal   text   not null,
    stream    text   not null,            -- records or samples
    n         bigint not null,            -- committed up to here
    hash      text   not null,            -- of entry n
    entries   bigint not null,            -- taken in; less than n after a gap
    invalid   bigint not null,            -- of these, kept but invalid
    first_us  bigint not null,            -- received
    last_us   bigint not null,            -- received
    unique (site, journal)
);

-- The evidence, verbatim. line is last so that a scan for a kind need not read it.
create table entries (
    seq         bigint not null primary key, -- order of commit, from 1 without holes
    journal_id  bigint not null references journals (id),
    n           bigint not null,
    hash        text   not null,
    at_us       bigint not null,
    clock       text   not null,
    kind        text   not null,
    device      text   not null,
    received_us bigint not null,
    valid       bigint not null,             -- 0: kept, but its content is invalid; why says so
    why         text   not null,
    line        text   not null,
    unique (journal_id, n)
);

create index entries_invalid on entries (seq) where valid = 0;

-- The signed header of each batch that brought entries: the edge's own hand under entry n and,
-- through the chain, under all entries before it.
create table batch_headers (
    journal_id bigint not null references journals (id),
    n          bigint not null,
    header     text   not null,
    primary key (journal_id, n)
);

-- Numbers that the edge states, signed, to be gone for good.
create table gaps (
    journal_id bigint not null references journals (id),
    from_n     bigint not null,
    to_n       bigint not null,
    reason     text   not null,
    seen_us    bigint not null,
    alarm      bigint not null,              -- 1: records are missing, a person must look
    primary key (journal_id, from_n)
);

-- What was not taken in, bounded; refusals counts it without bound.
create table quarantine (
    id       bigint not null primary key,
    digest   text   not null unique,         -- of reason and evidence: the same thing again is one row
    seen_us  bigint not null,
    last_us  bigint not null,
    times    bigint not null,
    site     text   not null,                -- empty: not an enrolled site
    journal  text   not null,
    n        bigint not null,                -- 0: not known
    reason   text   not null,
    why      text   not null,
    alarm    bigint not null,
    size     bigint not null,                -- bytes received; evidence may be their beginning only
    evidence text   not null                 -- base64
);

create table refusals (
    site    text   not null,
    reason  text   not null,
    times   bigint not null,
    last_us bigint not null,
    primary key (site, reason)
);

-- One row: the newest seq. Its row lock orders the writers of a shared database.
create table head (
    id  bigint not null primary key,
    seq bigint not null
);

insert into head (id, seq) values (1, 0);
