package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/loadgen"
)

type benchCmd struct {
	Ping     benchPingCmd     `cmd:"" help:"Send pings and measure the answers."`
	Detect   benchDetectCmd   `cmd:"" help:"Measure how soon a missed run is told by webhook."`
	Baseline benchBaselineCmd `cmd:"" hidden:"" help:"Serve the bare handler that --baseline measures."`
}

// targetFlags say which server to put load on.
type targetFlags struct {
	BaseURL string `name:"base-url" aliases:"url" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Address of the server (also --url)."`
	APIKey  string `name:"api-key" secret:"" placeholder:"KEY" help:"API key, to make monitors and for batches."`
}

type benchPingCmd struct {
	targetFlags `embed:""`

	KeysFile    string         `placeholder:"FILE" help:"File with the keys to ping, one a line: UUIDs, or project key/slug. Without it monitors are made with --api-key."`
	Keys        int            `default:"100" placeholder:"N" help:"How many monitors to make where there is no --keys-file."`
	Slug        bool           `help:"Ping the made monitors by project key and slug in place of their UUID."`
	SaveKeys    string         `placeholder:"FILE" help:"Where to write the keys of the made monitors, for a later --keys-file."`
	Cleanup     bool           `help:"Delete the made monitors afterwards, with all their pings."`
	Connections int            `short:"c" default:"64" placeholder:"N" help:"Connections, each with one request under way."`
	Rate        float64        `default:"0" placeholder:"N" help:"Requests a second over all connections; 0: as fast as answers come."`
	Duration    model.Duration `default:"10s" placeholder:"DURATION" help:"How long to measure."`
	Warmup      model.Duration `default:"1s" placeholder:"DURATION" help:"Load before that, which is not counted."`
	Kind        string         `default:"success" placeholder:"KIND" help:"What the pings say: success, start, fail, log or an exit status."`
	Runs        bool           `help:"In place of --kind, send a start and a success with a run id of their own."`
	BodySize    int            `default:"0" placeholder:"BYTES" help:"Bytes of the body of each ping."`
	Batch       int            `default:"0" placeholder:"N" help:"Above 0: that many pings a request, by the batch endpoint."`
	IDs         string         `name:"ids" placeholder:"FILE" help:"Where to write the id of every ping that was answered, one a line."`
	Baseline    bool           `help:"First put the same load on a bare handler that stores nothing, in a process of its own, and print the ratio."`
}

// Help is shown by bench ping --help.
func (benchPingCmd) Help() string {
	return `It prints how many pings a second were answered, the answers by status, and their latencies: at a --rate from the moment a request was due, else from the moment it was sent. Start the server with --ping-rate-limit 0, or give enough keys, or what you measure is the rate limit.

Examples:

    tokiflow bench ping --api-key "$KEY" --keys 1000 --cleanup
    tokiflow bench ping --api-key "$KEY" --baseline --duration 30s
    tokiflow bench ping --api-key "$KEY" --rate 5000 -c 256 --runs
    tokiflow bench ping --keys-file keys --batch 1000 -c 4 --api-key "$KEY"`
}

// Run loads and measures.
func (b *benchPingCmd) Run(ctx context.Context, e environment) (err error) {
	ctx, stop := untilSignal(ctx)
	defer stop()
	if err := b.check(); err != nil {
		return err
	}
	targets, cleanup, err := b.targets(ctx, e)
	defer func() { err = errors.Join(err, cleanup()) }()
	if err != nil {
		return err
	}
	o := loadgen.PingOptions{
		BaseURL: b.BaseURL, Targets: targets, Connections: b.Connections, Rate: b.Rate, Duration: time.Duration(b.Duration),
		Warmup: time.Duration(b.Warmup), Body: bytes.Repeat([]byte("x"), b.BodySize), Kind: b.Kind, Runs: b.Runs,
		Batch: b.Batch, APIKey: b.APIKey,
	}
	var bare *loadgen.PingResult
	if b.Baseline {
		if bare, err = baseline(ctx, e, o); err != nil {
			return fmt.Errorf("the baseline: %w", err)
		}
	}
	got, err := b.measure(ctx, o)
	if err != nil {
		return err
	}
	if err := report(e.stdout, "tokiflow", got); err != nil {
		return err
	}
	if bare != nil {
		if err := report(e.stdout, "bare handler", bare); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(e.stdout, "ratio: %.3f of the bare handler's pings a second\n", got.PerSecond()/bare.PerSecond()); err != nil {
			return err
		}
	}
	if got.Answered == 0 {
		return fmt.Errorf("no ping was answered: %s", got.LastFail)
	}
	return nil
}

func (b *benchPingCmd) check() error {
	switch {
	case b.Baseline && b.Batch > 0:
		return usageError{errors.New("--baseline and --batch do not go together: the bare handler has no batches")}
	case b.BodySize < 0:
		return usageError{errors.New("--body-size must not be below 0")}
	case b.KeysFile == "" && b.APIKey == "":
		return usageError{errors.New("no keys to ping: give --keys-file, or --api-key to make monitors")}
	}
	return nil
}

// measure puts the load on the server, and writes the ids where they are wanted.
func (b *benchPingCmd) measure(ctx context.Context, o loadgen.PingOptions) (result *loadgen.PingResult, err error) {
	if b.IDs == "" {
		return loadgen.Ping(ctx, o)
	}
	file, err := os.Create(b.IDs)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewWriter(file)
	o.IDs = buffered
	result, err = loadgen.Ping(ctx, o)
	return result, errors.Join(err, buffered.Flush(), file.Close())
}

// targets reads the keys, or makes monitors; cleanup removes what is not to stay, and may be called in any case.
func (b *benchPingCmd) targets(ctx context.Context, e environment) (targets []string, cleanup func() error, err error) {
	cleanup = func() error { return nil }
	if b.KeysFile != "" {
		text, err := e.readFile(b.KeysFile)
		if err != nil {
			return nil, cleanup, err
		}
		return strings.Fields(string(text)), cleanup, nil
	}
	admin, err := loadgen.NewAdmin(b.BaseURL, b.APIKey)
	if err != nil {
		return nil, cleanup, err
	}
	made, err := admin.Make(ctx, loadgen.Spec{
		Prefix: fmt.Sprintf("bench-%x", time.Now().UnixMilli()), Count: b.Keys, Interval: 24 * time.Hour, Grace: time.Hour,
	})
	cleanup = func() error {
		defer admin.Close()
		if !b.Cleanup {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
		defer cancel()
		return admin.Remove(ctx, made)
	}
	if err != nil {
		return nil, cleanup, err
	}
	project := ""
	if b.Slug {
		if project, err = admin.ProjectKey(ctx); err != nil {
			return nil, cleanup, err
		}
	}
	for _, m := range made {
		if b.Slug {
			targets = append(targets, project+"/"+m.Slug)
		} else {
			targets = append(targets, m.PingKey)
		}
	}
	if b.SaveKeys != "" {
		err = os.WriteFile(b.SaveKeys, []byte(strings.Join(targets, "\n")+"\n"), 0o600)
	}
	// A new monitor is known to the ping endpoints within a second.
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	return targets, cleanup, err
}

// report prints one result.
func report(w io.Writer, name string, r *loadgen.PingResult) error {
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "%s: %.0f pings a second answered, %d in %v\n", name, r.PerSecond(), r.Answered, r.Elapsed.Round(time.Millisecond))
	l := &r.Latency
	_, _ = fmt.Fprintf(&text, "  latency p50 %v, p95 %v, p99 %v, max %v, mean %v\n",
		l.Quantile(0.5), l.Quantile(0.95), l.Quantile(0.99), l.Max().Round(time.Microsecond), l.Mean().Round(time.Microsecond))
	for _, status := range slices.Sorted(maps.Keys(r.Statuses)) {
		_, _ = fmt.Fprintf(&text, "  status %d: %d requests\n", status, r.Statuses[status])
	}
	if r.Refused > 0 {
		_, _ = fmt.Fprintf(&text, "  refused within batches: %d pings\n", r.Refused)
	}
	if r.Failed > 0 {
		_, _ = fmt.Fprintf(&text, "  without an answer: %d requests, the latest: %s\n", r.Failed, r.LastFail)
	}
	if r.Statuses[429] > 0 {
		text.WriteString("  429 is the rate limit: start the server with --ping-rate-limit 0, or give more keys\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// baseline puts the load on a bare handler in a process of its own.
func baseline(ctx context.Context, e environment, o loadgen.PingOptions) (*loadgen.PingResult, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	child := exec.CommandContext(ctx, self, "bench", "baseline") //nolint:gosec // it is this very program
	child.Stderr = e.stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	defer func() {
		cancel()
		_ = child.Wait() // killed: there is nothing to learn from it
	}()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, err
	}
	o.BaseURL = strings.TrimSpace(address)
	return loadgen.Ping(ctx, o)
}

type benchBaselineCmd struct{}

// Run serves until a signal, and prints its address first.
func (benchBaselineCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(e.stdout, "http://%s\n", l.Addr()); err != nil {
		return err
	}
	return loadgen.Baseline(ctx, l)
}

type benchDetectCmd struct {
	targetFlags `embed:""`

	WebhookListen string         `default:"127.0.0.1:9099" placeholder:"HOST:PORT" help:"Where to listen for the webhooks: the server's --alert-webhook must point here."`
	WebhookSecret string         `secret:"" placeholder:"SECRET" help:"The server's --alert-webhook-secret. Without it signatures are not checked."`
	Routed        bool           `help:"Measure the way through the organisation's routes: a configuration that tells --webhook-listen everything is put for the time of the measurement, unless the organisation has one of its own."`
	Monitors      int            `default:"20" placeholder:"N" help:"How many monitors to make."`
	Silent        int            `default:"10" placeholder:"N" help:"How many of them go silent."`
	Interval      model.Duration `default:"2s" placeholder:"DURATION" help:"Interval of the monitors."`
	Grace         model.Duration `default:"1s" placeholder:"DURATION" help:"Grace of the monitors."`
	Settle        model.Duration `default:"5s" placeholder:"DURATION" help:"How long all are pinged before some go silent."`
	Wait          model.Duration `default:"15s" placeholder:"DURATION" help:"How long after a deadline its webhook is waited for."`
	Keep          bool           `help:"Leave the made monitors behind."`
}

// Help is shown by bench detect --help.
func (benchDetectCmd) Help() string {
	return `It makes monitors, pings them all, lets some go silent, and prints how long it took from each deadline to the incident and to the webhook; then it pings those again and measures the webhook that says so. It leaves with status 1 if a webhook is missing, false or wrongly signed. Clocks of the two machines must agree to within a second.

Example, with the server on the same machine:

    tokiflow serve --alert-webhook http://127.0.0.1:9099/ --alert-webhook-secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw --allow-private-webhooks
    tokiflow bench detect --api-key "$KEY" --webhook-secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw

Through the organisation's routes, 500 deadlines in a minute:

    tokiflow serve --allow-private-webhooks
    tokiflow bench detect --api-key "$KEY" --routed --monitors 500 --silent 500 --interval 1m --settle 30s --wait 30s`
}

// Run measures.
func (b *benchDetectCmd) Run(ctx context.Context, e environment) error {
	if b.APIKey == "" {
		return usageError{errors.New("no API key: give --api-key, to make monitors")}
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.WebhookListen)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	result, err := loadgen.Detect(ctx, loadgen.DetectOptions{
		BaseURL: b.BaseURL, APIKey: b.APIKey, Listener: l, Secret: b.WebhookSecret, Routed: b.Routed, Monitors: b.Monitors, Silent: b.Silent,
		Interval: time.Duration(b.Interval), Grace: time.Duration(b.Grace), Settle: time.Duration(b.Settle),
		Wait: time.Duration(b.Wait), Keep: b.Keep,
		Say: func(format string, args ...any) { _, _ = fmt.Fprintf(e.stderr, format+"\n", args...) },
	})
	if err != nil {
		return err
	}
	if err := result.Print(e.stdout); err != nil {
		return err
	}
	if len(result.Faults) > 0 {
		return statusError(exitFailed)
	}
	return nil
}
