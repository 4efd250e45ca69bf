package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"sync"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/manager"
	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/safehttp"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// wire makes one organisation's alerting over the database, as app does, without receivers of ours. shut is called when the manager has
// ended.
func (a *adapter) wire(ctx context.Context, database string, logger *slog.Logger) (shut func(), err error) {
	pool, err := pg.Open(ctx, database, pg.Options{MaxConns: 8})
	if err != nil {
		return nil, err
	}
	s := store.New(pool)
	boot, err := s.Bootstrap(ctx, adapterKey)
	if err != nil {
		return nil, err
	}
	external := &url.URL{Scheme: "http", Host: a.addr, Path: a.flags.prefix}
	web := safehttp.Options{AllowPrivate: true}
	taken, err := receivers.NewLog(receivers.LogOptions{Store: s, Logger: logger})
	if err != nil {
		return nil, err
	}
	all, err := receivers.New(receivers.Options{
		Org: boot.Org.ID, Dial: safehttp.DialContext(web), Client: safehttp.New(web), Log: taken, ExternalURL: external, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	file := func() (*config.Config, error) {
		text, err := os.ReadFile(a.flags.config)
		if err != nil {
			return nil, err
		}
		return config.Load(config.Source{YAML: string(text)}, config.Options{AllowPrivate: true})
	}
	a.reload = func(ctx context.Context) error { return put(ctx, s, boot.Org.ID, file) }
	if err := a.reload(ctx); err != nil {
		return nil, err
	}
	locks := pg.NewLocks(pool, logger)
	a.manager, err = manager.New(manager.Options{
		Store: s, Locks: locks, Listen: s.ListenAlerting, Keys: auth.NewKeys(s, nil), Alert: true, Logger: logger,
		Config: func(ctx context.Context, org tenant.OrgID) (*config.Config, int64, error) {
			_, _, version, _, err := s.AlertingConfig(ctx, org)
			if err != nil {
				return nil, 0, err
			}
			c, err := file()
			return c, version, err
		},
		Instance: func(org tenant.OrgID) instance.Options {
			return instance.Options{
				Org: org, ExternalURL: external, Build: all.Build, Stages: []instance.Middleware{all.Stage}, Store: s, Logger: logger,
			}
		},
		Start: func(ctx context.Context, o instance.Options, c *config.Config, state alert.State) (manager.Running, error) {
			return instance.Start(ctx, o, c, state)
		},
	})
	if err != nil {
		return nil, err
	}
	a.api = routes(a.manager)
	background, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = taken.Run(background) })
	return func() {
		end()
		running.Wait()
		locks.Close()
		pool.Close()
	}, nil
}

// put stores that there is a configuration, where it was found good. A second process of the cluster that has the same says nothing new.
func put(ctx context.Context, s *store.Store, org tenant.OrgID, read func() (*config.Config, error)) error {
	c, err := read()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(c.Source.YAML))
	_, err = s.PutAlertingConfig(ctx, org, []byte(c.Source.YAML), hex.EncodeToString(sum[:]), uuid.New(), -1)
	return errors.Join(err, ctx.Err())
}
