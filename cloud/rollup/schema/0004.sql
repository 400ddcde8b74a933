-- Sums over long times. A month is numbered by twelve times its year and its place in it, from 0.
create table months (
    site     text   not null,
    month    bigint not null,
    category text   not null,
    flow     text   not null,
    grams    bigint not null,
    count    bigint not null,
    primary key (site, month, category, flow)
);

create index months_covering on months (site, category, flow, month, grams, count);

drop index days_day;

create index days_covering on days (day, site, category, flow, grams, count);

-- The same sums for the whole city, area '*', and for each district; '' is that of a site without one.
create table area_days (
    area     text   not null,
    day      bigint not null,
    category text   not null,
    flow     text   not null,
    grams    bigint not null,
    count    bigint not null,
    primary key (day, area, category, flow)
);

create table area_months (
    area     text   not null,
    month    bigint not null,
    category text   not null,
    flow     text   not null,
    grams    bigint not null,
    count    bigint not null,
    primary key (month, area, category, flow)
);

create index area_days_covering on area_days (day, area, category, flow, grams, count);
create index area_months_covering on area_months (month, area, category, flow, grams, count);

-- The district of each site, as the sums of the districts were made with. A site without one is not here.
create table districts (
    site     text not null primary key,
    district text not null
);

-- All of it is read again.
delete from postings;
delete from hours;
delete from days;
delete from unposted;
delete from corrections;
delete from numbers;
delete from successions;
update rollup set read_seq = 0, post_seq = 0 where id = 1;
