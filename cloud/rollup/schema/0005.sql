-- The latest time of each journal's entries that is believed: what is written later can't be earlier.
create table clocks (
    site      text   not null,
    journal   text   not null,
    latest_us bigint not null,
    primary key (site, journal)
);

-- Entries whose time can't be: they count at counted_us until two persons have dated them.
create table suspects (
    site       text   not null,
    journal    text   not null,
    n          bigint not null,
    seq        bigint not null,
    kind       text   not null,
    number     text   not null, -- of the ticket or bale
    at_us      bigint not null, -- by the edge
    counted_us bigint not null,
    why        text   not null,
    dated      bigint not null, -- 1: a correction says when it was, or has taken it back
    primary key (site, journal, n)
);

create index suspects_open on suspects (seq) where dated = 0;

-- All of it is read again.
delete from postings;
delete from hours;
delete from days;
delete from months;
delete from area_days;
delete from area_months;
delete from unposted;
delete from corrections;
delete from numbers;
delete from successions;
update rollup set read_seq = 0, post_seq = 0 where id = 1;
