package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const apiKey = "bench-key-0123456789abcdef-0123456789"

// server is a tokiflow process with data of its own.
type server struct {
	bin   string
	dir   string
	topic string
	base  string

	partitions int // of the topic
	cmd        *exec.Cmd
}

// newServer makes room for one. Its folder must be open to an unprivileged PostgreSQL.
func newServer(s settings) (*server, error) {
	dir, err := os.MkdirTemp("", "tokiflow-bench-")
	if err != nil {
		return nil, err
	}
	return &server{bin: s.bin, dir: dir, topic: "bench-" + filepath.Base(dir), partitions: s.partitions}, os.Chmod(dir, 0o755) //nolint:gosec // see above
}

func (s *server) start(ctx context.Context, brokers string, args ...string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	all := append([]string{
		"serve", "--listen", address, "--data-dir", filepath.Join(s.dir, "data"), "--ping-rate-limit", "0", "--log-level", "warn",
	}, args...)
	if brokers != "" {
		all = append(all, "--kafka-brokers", brokers, "--kafka-topic", s.topic, "--kafka-partitions", strconv.Itoa(s.partitions))
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "tokiflow.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	s.cmd = exec.CommandContext(ctx, s.bin, all...) //nolint:gosec // our own binary
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.Env = append(os.Environ(), "BOOTSTRAP_API_KEY="+apiKey)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.base = "http://" + address
	return s.awaitReady(ctx)
}

func (s *server) awaitReady(ctx context.Context) error {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		if _, err := get(ctx, s.base+"/readyz"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("not ready after two minutes: see %s/tokiflow.log", s.dir)
}

func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	s.cmd = nil
	return err
}

// remove stops it and deletes its data.
func (s *server) remove() error { return errors.Join(s.stop(), os.RemoveAll(s.dir)) }

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req) //nolint:gosec // our own server
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %d", url, res.StatusCode)
	}
	return string(body), err
}

// metric is the sum of a metric's series.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	text, err := get(ctx, s.base+"/metrics")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

// tool runs tokiflow with other arguments and shows what it prints.
func (s *server) tool(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.bin, args...) //nolint:gosec // our own binary
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
