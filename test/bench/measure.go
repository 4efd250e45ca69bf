package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/loadgen"
)

// measurePing: answered, durable pings a second at 64 connections, and what a bare handler does in their place.
func measurePing(ctx context.Context, s settings, brokers string) error {
	srv, err := newServer(s)
	if err != nil {
		return err
	}
	defer func() { _ = srv.remove() }()
	// Only what a ping's answer needs: the consumers have their own measurement, and would share the processors.
	if err := srv.start(ctx, brokers, "--role", "ingest,read"); err != nil {
		return err
	}
	common := []string{"bench", "ping", "--base-url", srv.base, "--api-key", apiKey, "--keys", "1000", "--duration", fmt.Sprintf("%ds", s.seconds), "--warmup", "3s"}
	if err := srv.tool(ctx, append(common, "--connections", "64", "--baseline")...); err != nil {
		return err
	}
	fmt.Println("\nAt a steady 5,000 a second:")
	return srv.tool(ctx, append(common, "--connections", "64", "--rate", "5000")...)
}

// measureDrain: how fast the tsdb writer and the evaluator work off a backlog, both at once.
func measureDrain(ctx context.Context, s settings, brokers string) error {
	srv, err := newServer(s)
	if err != nil {
		return err
	}
	defer func() { _ = srv.remove() }()
	if err := srv.start(ctx, brokers, "--role", "ingest,read"); err != nil {
		return err
	}
	sent, err := fill(ctx, srv, s)
	if err != nil {
		return err
	}
	if err := srv.stop(); err != nil {
		return err
	}
	if err := srv.start(ctx, brokers, "--role", "write,evaluate"); err != nil {
		return err
	}
	began := time.Now()
	var evaluated, written time.Duration
	for evaluated == 0 || written == 0 {
		for name, took := range map[string]*time.Duration{
			"tokiflow_evaluator_records_total": &evaluated, "tokiflow_tsdb_pings_total": &written,
		} {
			n, err := srv.metric(ctx, name)
			if err != nil {
				return err
			}
			if n >= float64(sent) && *took == 0 {
				*took = time.Since(began)
			}
		}
		if time.Since(began) > 10*time.Minute {
			return fmt.Errorf("not drained after 10 minutes")
		}
		time.Sleep(50 * time.Millisecond)
	}
	both := max(evaluated, written).Seconds()
	fmt.Printf("%d pings of %d monitors: evaluated in %.1f s (%.0f/s), written in %.1f s (%.0f/s); both: %.0f pings/s\n",
		sent, s.monitors, evaluated.Seconds(), float64(sent)/evaluated.Seconds(), written.Seconds(), float64(sent)/written.Seconds(), float64(sent)/both)
	return nil
}

// fill puts the backlog into the log.
func fill(ctx context.Context, srv *server, s settings) (uint64, error) {
	admin, err := loadgen.NewAdmin(srv.base, apiKey)
	if err != nil {
		return 0, err
	}
	defer admin.Close()
	monitors, err := admin.Make(ctx, loadgen.Spec{Prefix: "drain", Count: s.monitors, Interval: time.Hour, Grace: time.Hour})
	if err != nil {
		return 0, err
	}
	var keys []string
	for _, m := range monitors {
		keys = append(keys, m.PingKey)
	}
	var sent uint64
	for sent < uint64(s.backlog) {
		res, err := loadgen.Ping(ctx, loadgen.PingOptions{
			BaseURL: srv.base, Targets: keys, Connections: 8, Duration: 2 * time.Second, Batch: 1000, APIKey: apiKey,
		})
		if err != nil {
			return sent, err
		}
		if res.Answered == 0 {
			return sent, fmt.Errorf("nothing was answered: %v %s", res.Statuses, res.LastFail)
		}
		sent += res.Answered
	}
	return sent, nil
}

// measureDetect: deadline → incident → webhook.
func measureDetect(ctx context.Context, s settings, brokers string) error {
	srv, err := newServer(s)
	if err != nil {
		return err
	}
	defer func() { _ = srv.remove() }()
	const hook = "127.0.0.1:29099"
	if err := srv.start(ctx, brokers, "--alert-webhook", "http://"+hook+"/", "--allow-private-webhooks"); err != nil {
		return err
	}
	return srv.tool(ctx, "bench", "detect", "--base-url", srv.base, "--api-key", apiKey, "--webhook-listen", hook,
		"--monitors", "200", "--silent", "100")
}

// measureIdle: what monitors cost that nobody pings.
func measureIdle(ctx context.Context, s settings, brokers string) error {
	srv, err := newServer(s)
	if err != nil {
		return err
	}
	defer func() { _ = srv.remove() }()
	if err := srv.start(ctx, brokers); err != nil {
		return err
	}
	admin, err := loadgen.NewAdmin(srv.base, apiKey)
	if err != nil {
		return err
	}
	defer admin.Close()
	began := time.Now()
	monitors, err := admin.Make(ctx, loadgen.Spec{Prefix: "idle", Count: s.idle, Interval: 24 * time.Hour, Grace: time.Hour})
	if err != nil {
		return err
	}
	fmt.Printf("%d monitors made in %.0f s\n", len(monitors), time.Since(began).Seconds())
	// Each has been pinged once, so that each has a deadline.
	var keys []string
	for _, m := range monitors {
		keys = append(keys, m.PingKey)
	}
	for sent := uint64(0); sent < uint64(2*len(keys)); {
		res, err := loadgen.Ping(ctx, loadgen.PingOptions{
			BaseURL: srv.base, Targets: keys, Connections: 2, Duration: time.Second, Batch: 1000, APIKey: apiKey,
		})
		if err != nil {
			return err
		}
		sent += res.Answered
	}
	for restarted := range 2 {
		if restarted == 1 {
			if err := srv.stop(); err != nil {
				return err
			}
			began := time.Now()
			if err := srv.start(ctx, brokers); err != nil {
				return err
			}
			fmt.Printf("after a restart, which took %.1f s:\n", time.Since(began).Seconds())
		}
		time.Sleep(30 * time.Second) // let it come to rest
		if err := showIdle(srv.cmd.Process.Pid, 30*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// showIdle prints what the process takes of a core over d, and its memory.
func showIdle(pid int, d time.Duration) error {
	before, err := processorTime(pid)
	if err != nil {
		return err
	}
	time.Sleep(d)
	after, err := processorTime(pid)
	if err != nil {
		return err
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS") {
			fmt.Printf("tokiflow: %.2f %% of a core, %s\n", 100*(after-before).Seconds()/d.Seconds(), strings.Join(strings.Fields(line), " "))
		}
	}
	return nil
}

// processorTime is user and system time of a process, of Linux's /proc, whose unit is 1/100 s.
func processorTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("what is %q?", data)
	}
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("what is %q?", data)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}
