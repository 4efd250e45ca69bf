// Command bench measures this machine: what the server does, as ratios to bare baselines of the same run. It is what
// make bench runs; docs/benchmarks.md says how to read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are what may be chosen.
type settings struct {
	bin      string
	brokers  string
	seconds  int
	backlog  int
	monitors int
	idle     int

	partitions int
}

func run(ctx context.Context) error {
	var s settings
	only := flag.String("only", "ping,drain,detect,idle,scrape,samples,query", "measurements to make, separated by commas")
	flag.StringVar(&s.bin, "bin", "bin/tokiflow", "the binary to measure")
	flag.StringVar(&s.brokers, "kafka-brokers", os.Getenv("TOKIFLOW_TEST_KAFKA"), "brokers for the same figures through Kafka; empty: left out")
	flag.IntVar(&s.seconds, "seconds", 10, "length of a load")
	flag.IntVar(&s.backlog, "backlog", 1_500_000, "pings in the log that is drained")
	flag.IntVar(&s.monitors, "monitors", 10_000, "monitors that the backlog is for, and that are scraped")
	flag.IntVar(&s.idle, "idle", 100_000, "monitors that do nothing")
	flag.IntVar(&s.partitions, "kafka-partitions", 1, "partitions of the topic")
	flag.Parse()
	measurements := map[string]func(context.Context, settings, string) error{
		"ping": measurePing, "drain": measureDrain, "detect": measureDetect, "idle": measureIdle,
		"scrape": measureScrape, "samples": measureRemoteWrite, "query": measureQuery,
	}
	logs := []string{""}
	if s.brokers != "" {
		logs = append(logs, s.brokers)
	} else {
		fmt.Println("ABSENT: Kafka; its figures are left out (--kafka-brokers)")
	}
	var errs []error
	for name := range strings.SplitSeq(*only, ",") {
		measure, ok := measurements[name]
		if !ok {
			return fmt.Errorf("--only: %q is none of ping, drain, detect, idle, scrape, samples, query", name)
		}
		for _, brokers := range logs {
			if (name == "idle" || name == "scrape" || name == "query") && brokers != "" {
				continue // they do not depend on the log
			}
			title := "log on disk"
			if brokers != "" {
				title = "log on Kafka"
			}
			fmt.Printf("\n## %s, %s\n\n", name, title)
			if err := measure(ctx, s, brokers); err != nil {
				errs = append(errs, fmt.Errorf("%s, %s: %w", name, title, err))
				fmt.Println("FAILED:", err)
			}
		}
	}
	return errors.Join(errs...)
}
