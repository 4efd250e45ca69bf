package kafkalog

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
	"github.com/tokiflow/tokiflow/test/services"
)

// certificates are files of an authority of the test's own and of what it signed.
type certificates struct {
	ca, cert, key string
	server        string // key and certificate in one, as the broker wants it
}

func makeCertificates(t *testing.T) certificates {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	write := func(name string, blocks ...*pem.Block) string {
		t.Helper()
		var b []byte
		for _, block := range blocks {
			b = append(b, pem.EncodeToMemory(block)...)
		}
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, b, 0o600))
		return path
	}
	sign := func(serial int64, name string) (key, cert *pem.Block) {
		t.Helper()
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		c := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &k.PublicKey, caKey)
		must(err)
		keyDER, err := x509.MarshalPKCS8PrivateKey(k)
		must(err)
		return &pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}, &pem.Block{Type: "CERTIFICATE", Bytes: der}
	}
	serverKey, serverCert := sign(2, "broker")
	clientKey, clientCert := sign(3, "tokiflow")
	return certificates{
		ca:     write("ca.pem", &pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		server: write("server.pem", serverKey, serverCert),
		cert:   write("client.pem", clientCert),
		key:    write("client.key", clientKey),
	}
}

// TestSecureBroker speaks TLS with certificates on both sides, and each way to say who we are.
func TestSecureBroker(t *testing.T) {
	certs := makeCertificates(t)
	broker := services.StartKafka(t, services.KafkaOptions{SCRAM: "alice:s3cret", Properties: fmt.Sprintf(`
listeners=PLAINTEXT://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CONTROLLER@,SECURE://127.0.0.1:@PORT2@
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="s3cret";
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location=%s
ssl.truststore.type=PEM
ssl.truststore.location=%s
`, certs.server, certs.ca)})
	base := func() Options {
		return Options{
			Brokers: []string{broker.Addr2}, Topic: "secure", Partitions: 1, Logger: testLogger(t),
			TLS:  &TLS{CAFile: certs.ca, CertFile: certs.cert, KeyFile: certs.key},
			SASL: &SASL{Mechanism: "PLAIN", User: "alice", Password: "s3cret"},
		}
	}
	for i, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			o := base()
			o.SASL.Mechanism = mechanism
			l := mustOpen(t, o)
			if _, err := l.AppendBatch(t.Context(), 0, [][]byte{[]byte(mechanism)}); err != nil {
				t.Fatal(err)
			}
			r := logtest.NewRecorder(t, logtest.NewOffsets())
			logtest.Consume(t, l, mechanism, r)
			r.AwaitCount(0, i+1)
			if got := r.Got(0)[i].Value; got != mechanism {
				t.Errorf("read %q", got)
			}
		})
	}
	for name, tc := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"wrong password":    {func(o *Options) { o.SASL.Password = "wrong" }, "SASL Authentication Failed"},
		"wrong scram":       {func(o *Options) { o.SASL.Mechanism, o.SASL.Password = "SCRAM-SHA-256", "wrong" }, "SASL Authentication Failed"},
		"unknown authority": {func(o *Options) { o.TLS.CAFile = "" }, "certificate signed by unknown authority"},
		"no certificate":    {func(o *Options) { o.TLS.CertFile, o.TLS.KeyFile = "", "" }, "remote error: tls: "},
		"no TLS":            {func(o *Options) { o.TLS = nil }, "secure"},
	} {
		t.Run(name, func(t *testing.T) {
			o := base()
			tc.change(&o)
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			l, err := Open(ctx, o)
			if err == nil {
				_ = l.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "topic secure at ["+broker.Addr2+"] cannot be used") {
				t.Errorf("the error is %v", err)
			}
		})
	}
	t.Run("any certificate", func(t *testing.T) {
		o := base()
		o.TLS.CAFile, o.TLS.InsecureSkipVerify = "", true
		mustOpen(t, o)
	})
}

func TestOptions(t *testing.T) {
	certs := makeCertificates(t)
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"no broker":       {Options{Topic: "t"}, "no Kafka broker given"},
		"no topic":        {Options{Brokers: []string{"b:1"}}, "no Kafka topic given"},
		"partitions":      {Options{Brokers: []string{"b:1"}, Topic: "t", Partitions: -1}, "-1 partitions"},
		"compression":     {Options{Brokers: []string{"b:1"}, Topic: "t", Compression: "rar"}, "compression format must be one of"},
		"mechanism":       {Options{Brokers: []string{"b:1"}, Topic: "t", SASL: &SASL{Mechanism: "GSSAPI"}}, `unknown SASL mechanism "GSSAPI"`},
		"no CA file":      {Options{Brokers: []string{"b:1"}, Topic: "t", TLS: &TLS{CAFile: "/does/not/exist"}}, "reading the certificate authority"},
		"CA without cert": {Options{Brokers: []string{"b:1"}, Topic: "t", TLS: &TLS{CAFile: certs.key}}, "no PEM certificate"},
		"key alone":       {Options{Brokers: []string{"b:1"}, Topic: "t", TLS: &TLS{KeyFile: certs.key}}, "the client's certificate"},
		"nobody there":    {Options{Brokers: []string{"127.0.0.1:1"}, Topic: "t"}, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			l, err := Open(ctx, tc.o)
			if err == nil {
				_ = l.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestPartitionCount(t *testing.T) {
	o := Options{Brokers: []string{fakeBroker(t)}, Topic: "count"}
	if n := mustOpen(t, o).Partitions(); n != defaultPartitions {
		t.Errorf("%d partitions by default", n)
	}
	o.Partitions = 3
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "topic count has 8 partitions, not 3") {
		t.Errorf("opened with another number: %v", err)
	}
	o.Partitions = 8
	a := mustOpen(t, o)
	if b := mustOpen(t, Options{Brokers: o.Brokers, Topic: "other"}); a.ID() == b.ID() || !strings.HasSuffix(a.ID(), "/count") {
		t.Errorf("ids %q and %q", a.ID(), b.ID())
	}
}
