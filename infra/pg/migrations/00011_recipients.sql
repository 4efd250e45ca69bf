-- Addresses that alerts are mailed to, and what is kept for them. docs/email.md tells what becomes of it.

-- +goose Up
create table recipients (
    org_id           uuid not null references organisations (id) on delete cascade,
    address          text not null,               -- as core/recipient.Key makes it
    id               uuid not null,               -- in links
    created_at       timestamptz not null default now(),
    removed_at       timestamptz,                 -- nobody sees it; what it was asked and what it said is still known
    verified_at      timestamptz,                 -- null: nobody there has said yet that it wants to be told
    unsubscribed_at  timestamptz,
    token_hash       bytea,                       -- SHA-256 of the last verification mail's token
    token_expires_at timestamptz,
    asked_at         timestamptz,                 -- when that mail was sent
    asks             integer not null default 0,  -- of them, since it was last verified
    ask_due          timestamptz,                 -- when to send one; null: none is wanted
    receiver         text not null default '',    -- which entry of the configuration named it last
    kind             text not null default '',    -- email, resend
    sender           text not null default '',
    preferences      jsonb not null default '{}', -- core/recipient.Preferences
    error            text not null default '',    -- why the last mail to it was not sent
    error_at         timestamptz,
    due_at           timestamptz,                 -- when there is something to send; null: nothing
    tries            integer not null default 0,  -- since something was last sent
    leased_until     timestamptz,                 -- a process works on it
    primary key (org_id, address)
);
create unique index recipients_id on recipients (id);
create index recipients_due on recipients (due_at) where due_at is not null;
create index recipients_asked on recipients (org_id, asked_at);

-- What was to be told to a recipient and was not yet: one row for each group of alerts and integration, with the last known of each
-- alert. A row goes when it was told.
create table held_mails (
    id           uuid not null,                   -- of its notification too
    org_id       uuid not null,
    address      text not null,
    version      bigint not null default 1,       -- rises with each change
    receiver     text not null,
    kind         text not null,
    sender       text not null,
    integration  text not null,                   -- email[0]
    group_key    text not null,
    group_labels jsonb not null,
    reason       text not null,                   -- unverified, later, retry
    why          text not null,                   -- the notification's: new alerts added, …
    held_at      timestamptz not null,            -- the first of it
    due_at       timestamptz,                     -- null: when the address is verified
    alerts       jsonb not null,                  -- [core/recipient.Alert]
    more         integer not null default 0,      -- alerts left out of it
    message      jsonb,                           -- core/mail.Message, where one was to be sent as it is
    primary key (id),
    foreign key (org_id, address) references recipients (org_id, address) on delete cascade
);
create unique index held_mails_group on held_mails (org_id, address, group_key, receiver, integration, reason);
create index held_mails_unverified on held_mails (held_at) where due_at is null;

-- +goose Down
drop table held_mails, recipients;
