-- Tonnes, made from the ledger; all of it can be dropped and made again.

-- How far the ledger has been read, and the newest posting. One row.
create table rollup (
    id       bigint not null primary key,
    read_seq bigint not null,
    post_seq bigint not null
);

insert into rollup (id, read_seq, post_seq) values (1, 0, 0);

create table postings (
    seq            bigint not null primary key,
    site           text   not null,
    journal        text   not null,
    n              bigint not null,
    part           bigint not null,
    at_us          bigint not null,
    category       text   not null,
    material       text   not null,
    flow           text   not null,
    grams          bigint not null,
    target_journal text   not null, -- of a reversal: what it takes back; else empty
    target_n       bigint not null,
    unique (site, journal, n, part)
);

create index postings_at on postings (at_us);

create table hours (
    site     text   not null,
    hour_us  bigint not null, -- its beginning
    category text   not null,
    flow     text   not null,
    grams    bigint not null,
    count    bigint not null, -- postings less reversals
    primary key (site, hour_us, category, flow)
);

create table days (
    site     text   not null,
    day      bigint not null, -- business days since 1970-01-01
    category text   not null,
    flow     text   not null,
    grams    bigint not null,
    count    bigint not null,
    primary key (site, day, category, flow)
);

create index days_day on days (day);

-- What is in the ledger, brings tonnes by its kind, and could not be posted. Repaired by a
-- correction, or by a better catalogue and a rebuild.
create table unposted (
    seq     bigint not null primary key, -- in the ledger
    site    text   not null,
    journal text   not null,
    n       bigint not null,
    at_us   bigint not null,
    kind    text   not null,
    why     text   not null,
    unique (site, journal, n)
);

-- The one correction that holds for an entry. pending: its target is not in the ledger yet.
create table corrections (
    site           text   not null,
    target_journal text   not null,
    target_n       bigint not null,
    journal        text   not null,
    n              bigint not null,
    pending        bigint not null,
    primary key (site, target_journal, target_n)
);
