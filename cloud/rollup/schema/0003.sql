-- The numbers of tickets, so that one which is given twice is seen.
create table numbers (
    site    text   not null,
    number  text   not null,
    journal text   not null,
    n       bigint not null,
    primary key (site, number)
);

-- Which journal ended where, by the word of the one that was begun after it.
create table successions (
    site    text   not null,
    journal text   not null,
    n       bigint not null,
    next    text   not null, -- the journal begun after it
    primary key (site, journal, next)
);

-- All of it is read again.
delete from postings;
delete from hours;
delete from days;
delete from unposted;
delete from corrections;
update rollup set read_seq = 0, post_seq = 0 where id = 1;
