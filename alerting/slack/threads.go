package slack

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/nflog"
)

const (
	threadsKey = "slack" // in the notification log's entry of a group
	sumSize    = 8
)

// threads is what one group of alerts was told in one channel. It stands in the notification log, with what Alertmanager itself
// remembers of the group.
type threads struct {
	Heads  map[string]head `json:"h,omitempty"` // by fingerprint
	Digest *digest         `json:"d,omitempty"`
}

// head is the message at the head of an incident's thread.
type head struct {
	place
	Identity string `json:"i"`           // what the fingerprint stood for
	Starts   int64  `json:"s"`           // Unix seconds
	AckBy    string `json:"a,omitempty"` // as the message says
	Resolved bool   `json:"r,omitempty"` // it was told so
	Repeated int64  `json:"w,omitempty"` // the flush that it was last repeated for, as Unix nanoseconds
	Title    string `json:"n,omitempty"` // to close it when its alert is gone
}

// digest is one message for many alerts.
type digest struct {
	place
	Starts    int64  `json:"s"` // Unix seconds
	Members   string `json:"m"` // sums of the alerts that it said fire, packed
	Recovered int    `json:"r"` // how many were members and are not any more
	Count     int    `json:"n"` // how often it was told, to know the later of two
}

func (t threads) empty() bool { return len(t.Heads) == 0 && t.Digest == nil }

func (t threads) clone() threads {
	c := threads{Heads: maps.Clone(t.Heads)}
	if c.Heads == nil {
		c.Heads = map[string]head{}
	}
	if t.Digest != nil {
		d := *t.Digest
		c.Digest = &d
	}
	return c
}

// loadThreads reads what was stored. What cannot be read is as good as nothing: then messages are new.
func loadThreads(s *nflog.Store) threads {
	var t threads
	if text, ok := s.GetStr(threadsKey); ok && json.Unmarshal([]byte(text), &t) != nil {
		t = threads{}
	}
	return t.clone()
}

func (t threads) save(s *nflog.Store) {
	if t.empty() {
		s.Delete(threadsKey)
		return
	}
	text, err := json.Marshal(t)
	if err != nil { // strings and numbers
		return
	}
	s.SetStr(threadsKey, string(text))
}

// sumOf tells an alert of a digest from others, and from the same alert at another time.
func sumOf(v view) [sumSize]byte {
	sum := sha256.Sum256([]byte(v.fingerprint + "\x00" + v.identity))
	return [sumSize]byte(sum[:sumSize])
}

func unpackSums(text string) map[[sumSize]byte]bool {
	out := map[[sumSize]byte]bool{}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return out
	}
	for chunk := range slices.Chunk(b, sumSize) {
		if len(chunk) == sumSize {
			out[[sumSize]byte(chunk)] = true
		}
	}
	return out
}

func packSums(sums map[[sumSize]byte]bool) string {
	list := slices.SortedFunc(maps.Keys(sums), func(a, b [sumSize]byte) int { return strings.Compare(string(a[:]), string(b[:])) })
	b := make([]byte, 0, len(list)*sumSize)
	for _, sum := range list {
		b = append(b, sum[:]...)
	}
	return base64.RawStdEncoding.EncodeToString(b)
}
