// Package services gives tests real services to work with: an Apache Kafka broker, a Prometheus and its promtool, an Alertmanager and its amtool.
package services

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Kafka returns the address of a broker: that of TOKIFLOW_TEST_KAFKA, or one started for this test process. Without Java
// and Maven the test is skipped, or fails where TOKIFLOW_TEST_REQUIRE is set.
//
// Other tests use the same broker: make topics of your own, and do not stop it. For that there is StartKafka.
func Kafka(t testing.TB) string {
	t.Helper()
	addr := os.Getenv("TOKIFLOW_TEST_KAFKA")
	if addr == "" {
		installed(t)
		var err error
		if addr, err = sharedKafka(); err != nil {
			t.Fatal(err)
		}
	}
	t.Attr("part", "Kafka")
	return addr
}

// sharedKafka starts the test process's broker once. It ends with the process.
//
//nolint:gochecknoglobals // one broker for each test process is the point
var sharedKafka = sync.OnceValues(func() (string, error) {
	b, err := startKafka(KafkaOptions{})
	if err != nil {
		return "", err
	}
	return b.Addr, nil
})

// KafkaOptions change a broker of StartKafka.
type KafkaOptions struct {
	Properties string // further lines of server.properties; @PORT2@ is a second free port
	SCRAM      string // user:password
}

// Broker is a broker that a test has for itself.
type Broker struct {
	Addr  string // host:port of the plain listener
	Addr2 string // host:port for what Properties listens on
	Dir   string // of its data and logs
}

// StartKafka starts a broker for one test, which may kill it.
func StartKafka(t testing.TB, o KafkaOptions) *Broker {
	t.Helper()
	installed(t)
	// One that was killed must wait until the controller has given up its former self.
	o.Properties = "broker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500\n" + o.Properties
	b, err := startKafka(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Attr("part", "Kafka of its own, which it may kill")
	t.Cleanup(func() {
		if _, err := script(nil, "remove", b.Dir); err != nil {
			t.Errorf("removing the broker: %v", err)
		}
	})
	return b
}

// Kill ends the broker as kill -9 does.
func (b *Broker) Kill(t testing.TB) {
	t.Helper()
	if _, err := script(nil, "kill", b.Dir); err != nil {
		t.Fatal(err)
	}
}

// Restart starts the broker again, with its data and its port.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	if _, err := script(nil, "start", b.Dir); err != nil {
		t.Fatal(err)
	}
}

func startKafka(o KafkaOptions) (*Broker, error) {
	env := []string{"KAFKA_PARENT=" + strconv.Itoa(os.Getpid()), "KAFKA_SCRAM=" + o.SCRAM}
	if o.Properties != "" {
		f, err := os.CreateTemp("", "tokiflow-kafka-*.properties")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.Remove(f.Name()) }()
		if _, err := f.WriteString(o.Properties); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		env = append(env, "KAFKA_EXTRA="+f.Name())
	}
	out, err := script(env, "start")
	if err != nil {
		return nil, err
	}
	return &Broker{
		Addr:  out["TOKIFLOW_TEST_KAFKA"],
		Addr2: "127.0.0.1:" + out["TOKIFLOW_TEST_KAFKA_PORT2"],
		Dir:   out["TOKIFLOW_TEST_KAFKA_DIR"],
	}, nil
}

// script runs kafka.sh and returns the variables it prints.
func script(env []string, args ...string) (map[string]string, error) {
	return run("kafka.sh", env, args...)
}

// run runs a script of this folder and returns the variables it prints.
func run(name string, env []string, args ...string) (map[string]string, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(root, "test", "services", name), args...) //nolint:gosec,noctx // our own script; it bounds itself
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	vars := map[string]string{}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), "="); ok {
			vars[k] = v
		}
	}
	return vars, nil
}

// moduleRoot is the folder of go.mod above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}

// installed makes sure that there is a broker to start, or skips the test and says what is absent, so that it can be
// counted.
func installed(t testing.TB) {
	t.Helper()
	_, err := script(nil, "install")
	if err == nil {
		return
	}
	if os.Getenv("TOKIFLOW_TEST_REQUIRE") != "" {
		t.Fatalf("MISSING SERVICE kafka: %v", err)
	}
	t.Skipf("MISSING SERVICE kafka: %v", err)
}
