package receivers

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	amreceiver "github.com/prometheus/alertmanager/config/receiver"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	commoncfg "github.com/prometheus/common/config"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/alertmanager"
	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/signed"
	"github.com/tokiflow/tokiflow/core/alert"
)

// built is an integration with its notifier in sight.
type built struct {
	notify.Integration
	attempts *attempts
}

func integrations(list []built) []notify.Integration {
	out := make([]notify.Integration, len(list))
	for i, b := range list {
		out[i] = b.Integration
	}
	return out
}

// receiver builds the integrations of one receiver: Alertmanager's in its order, then mail, then ours in theirs.
func (r *Receivers) receiver(c *config.Config, rc amconfig.Receiver, t *template.Template) ([]built, error) {
	rc, err := r.safe(rc)
	if err != nil {
		return nil, err
	}
	emails := rc.EmailConfigs
	rc.EmailConfigs = nil
	theirs, err := amreceiver.BuildReceiverIntegrations(rc, t, r.o.Logger.With("org", r.o.Org, "receiver", rc.Name),
		commoncfg.WithDialContextFunc(bounded(r.o.Dial, r.o.AttemptTimeout)), commoncfg.WithKeepAlivesDisabled())
	if err != nil {
		return nil, err
	}
	secrets := secretsIn(reflect.ValueOf(rc), nil)
	var out []built
	for i := range theirs {
		one := &theirs[i]
		out = append(out, r.wrap(rc.Name, one.Name(), one.Index(), one, one, secrets))
	}
	for i, e := range emails {
		if r.o.Email == nil {
			return nil, errors.New("email_configs cannot be used: no way to send mail is set up on this server")
		}
		n, err := r.o.Email(e, t)
		if err != nil {
			return nil, fmt.Errorf("email_configs[%d]: %w", i, err)
		}
		out = append(out, r.wrap(rc.Name, "email", i, n, e, secretsIn(reflect.ValueOf(e), nil)))
	}
	for _, e := range c.Entries {
		if e.Receiver != rc.Name {
			continue
		}
		n, err := r.ours(c, e, t)
		if err != nil {
			return nil, fmt.Errorf("%s_configs[%d]: %w", e.Kind, e.Index, err)
		}
		out = append(out, r.wrap(rc.Name, e.Kind, e.Index, n, sendResolved(e.SendResolved), secretsOfEntry(e.Node, r.secretKeys(e.Kind))))
	}
	return out, nil
}

// ours makes the notifier of a kind of ours.
func (r *Receivers) ours(c *config.Config, e config.Entry, t *template.Template) (notify.Notifier, error) {
	if f := r.o.Factories[e.Kind]; f != nil {
		return f(e, t)
	}
	switch e.Kind {
	case alertmanager.Name:
		return alertmanager.New(e, r.o.Client, groupInterval(c, e.Receiver))
	case signed.Name:
		return signed.New(e, t, r.o.Client, uuid.UUID(r.o.Org.UUID).String())
	}
	return nil, errors.New("is not set up on this server")
}

// secretKeys are the keys of a kind's entries that hold secrets.
func (r *Receivers) secretKeys(kind string) []string {
	for _, k := range append(Kinds(), r.o.Kinds...) {
		if k.Name == kind {
			return k.Secrets
		}
	}
	return nil
}

// Kinds are those of this package's own, for config.Options.
func Kinds() []config.Kind { return []config.Kind{alertmanager.Kind(), signed.Kind()} }

type sendResolved bool

func (s sendResolved) SendResolved() bool { return bool(s) }

func (r *Receivers) wrap(receiver, kind string, index int, n notify.Notifier, rs notify.ResolvedSender, secrets []string) built {
	a := &attempts{
		place: place{org: r.o.Org, receiver: receiver, kind: kind, integration: kind + "[" + strconv.Itoa(index) + "]"},
		next:  n, log: r.o.Log, secrets: newScrubber(secrets), timeout: r.o.AttemptTimeout, running: map[uuid.UUID]*flight{},
		turns: r.o.Turns, share: make(chan struct{}, atOnceOne),
		logger: r.o.Logger.With("org", r.o.Org, "receiver", receiver, "integration", kind),
		status: regexp.MustCompile(`status code:? ([1-5][0-9]{2})\b|\(([1-5][0-9]{2})\)$`),
	}
	if oneAtATime(kind) {
		a.share = make(chan struct{}, 1)
	}
	return built{Integration: notify.NewIntegration(a, rs, kind, index, receiver), attempts: a}
}

// groupInterval is the longest of the routes that lead to the receiver: so long may pass between two flushes of a group.
func groupInterval(c *config.Config, receiver string) time.Duration {
	longest := time.Duration(0)
	var walk func(route *amconfig.Route, name string, interval time.Duration)
	walk = func(route *amconfig.Route, name string, interval time.Duration) {
		if route.Receiver != "" {
			name = route.Receiver
		}
		if route.GroupInterval != nil {
			interval = time.Duration(*route.GroupInterval)
		}
		if name == receiver {
			longest = max(longest, interval)
		}
		for _, child := range route.Routes {
			walk(child, name, interval)
		}
	}
	if c.Alertmanager.Route != nil {
		walk(c.Alertmanager.Route, "", 5*time.Minute) // Alertmanager's default
	}
	return longest
}

// List is what the configuration's receivers hold, without secrets, in its order.
func List(c *config.Config) []alert.Receiver {
	known := kinds()
	out := make([]alert.Receiver, 0, len(c.Alertmanager.Receivers))
	for _, rc := range c.Alertmanager.Receivers {
		one := alert.Receiver{Name: rc.Name}
		v := reflect.ValueOf(rc)
		for i := range v.NumField() {
			if v.Field(i).Kind() != reflect.Slice {
				continue
			}
			kind := known[yamlKey(v.Type().Field(i))]
			for j := range v.Field(i).Len() {
				rs, ok := reflect.TypeAssert[notify.ResolvedSender](v.Field(i).Index(j))
				one.Integrations = append(one.Integrations, alert.Integration{
					Name: kind + "[" + strconv.Itoa(j) + "]", Kind: kind, SendResolved: ok && rs.SendResolved(),
				})
			}
		}
		for _, e := range c.Entries {
			if e.Receiver == rc.Name {
				one.Integrations = append(one.Integrations, alert.Integration{
					Name: e.Kind + "[" + strconv.Itoa(e.Index) + "]", Kind: e.Kind, SendResolved: e.SendResolved,
				})
			}
		}
		out = append(out, one)
	}
	return out
}
