package pushgateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// The Pushgateway's own metrics of each group.
const (
	pushTime        = "push_time_seconds"
	pushFailureTime = "push_failure_time_seconds"
)

// bodyVersion is the first byte of a group's body. Then come the number of families and, for each, of its series; then a
// record of samples with the series in their order, and with a description for each family.
const bodyVersion = 1

var errBody = errors.New("the group's stored body cannot be read")

// errTooMuch says that a body would be more than can be read again.
var errTooMuch = fmt.Errorf("the group would hold more than %d MiB", record.MaxSamplesSize>>20)

func encodeBody(families []*family) ([]byte, error) {
	b := binary.AppendUvarint([]byte{bodyVersion}, uint64(len(families)))
	var e record.SamplesEncoder
	for _, f := range families {
		b = binary.AppendUvarint(b, uint64(len(f.series)))
		for i := range f.series {
			e.Add(&f.series[i])
		}
		e.AddMetadata(&f.Metadata)
	}
	if e.Size() > record.MaxSamplesSize-1<<10 { // it does not count a few numbers
		return nil, errTooMuch
	}
	return e.AppendRecord(b, tenant.OrgID{}), nil
}

// decodeBody is the inverse of encodeBody; an empty body has no families.
func decodeBody(b []byte) ([]*family, error) {
	if len(b) == 0 {
		return nil, nil
	}
	n, used := binary.Uvarint(b[1:])
	if b[0] != bodyVersion || used <= 0 || n > uint64(len(b)) {
		return nil, errBody
	}
	b = b[1+used:]
	counts := make([]uint64, n)
	for i := range counts {
		if counts[i], used = binary.Uvarint(b); used <= 0 {
			return nil, errBody
		}
		b = b[used:]
	}
	s, err := record.ParseSamples(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	if len(s.Metadata) != len(counts) {
		return nil, errBody
	}
	families := make([]*family, len(counts))
	for i, count := range counts {
		if count > uint64(len(s.Series)) {
			return nil, errBody
		}
		families[i] = &family{Metadata: s.Metadata[i], series: s.Series[:count:count]}
		s.Series = s.Series[count:]
	}
	return families, nil
}

// merge is what stands after a POST: the new families, and those of the old that have none of their name.
func merge(old, pushed []*family) []*family {
	out := slices.Clone(pushed)
	for _, f := range old {
		if !slices.ContainsFunc(pushed, func(p *family) bool { return p.Name == f.Name }) {
			out = append(out, f)
		}
	}
	return out
}

// adopt gives every series the labels of the grouping key, which win over its own, and holds it to the rules.
func adopt(families []*family, key []series.Label, rules *admit.Rules) error {
	for _, f := range families {
		for i := range f.series {
			s := &f.series[i]
			s.Labels = slices.DeleteFunc(s.Labels, func(l series.Label) bool {
				return slices.ContainsFunc(key, func(k series.Label) bool { return k.Name == l.Name })
			})
			kept, err := rules.Labels(append(s.Labels, key...))
			if err != nil {
				return err
			}
			s.Labels = kept
		}
		if !rules.Metadata(&f.Metadata) {
			return fmt.Errorf("invalid metric name %q", f.Name)
		}
	}
	return nil
}

// consistent looks for series that stand there twice.
func consistent(families []*family) error {
	seen := map[string]struct{}{}
	var b []byte
	for _, f := range families {
		for i := range f.series {
			b = appendKey(b[:0], f.series[i].Labels)
			if _, twice := seen[string(b)]; twice {
				return fmt.Errorf("collected metric %s was collected before with the same name and label values", admit.Name(f.series[i].Labels))
			}
			seen[string(b)] = struct{}{}
		}
	}
	return nil
}

func appendKey(b []byte, l []series.Label) []byte {
	for i := range l {
		b = append(append(b, l[i].Name...), 0xff)
		b = append(append(b, l[i].Value...), 0xff)
	}
	return b
}

// typesOf are the families' types by name.
func typesOf(families []*family) map[string]string {
	types := make(map[string]string, len(families))
	for _, f := range families {
		types[f.Name] = f.Type
	}
	return types
}

// vanished are the series of old that are not among those of now.
func vanished(old, now []*family) []series.Series {
	standing := map[string]struct{}{}
	var b []byte
	for _, f := range now {
		for i := range f.series {
			standing[string(appendKey(nil, f.series[i].Labels))] = struct{}{}
		}
	}
	var gone []series.Series
	for _, f := range old {
		for i := range f.series {
			b = appendKey(b[:0], f.series[i].Labels)
			if _, ok := standing[string(b)]; !ok {
				gone = append(gone, series.Series{Labels: f.series[i].Labels})
			}
		}
	}
	return gone
}

// samples are the families' series with their values at that time.
func samples(families []*family, at time.Time) ([]series.Series, error) {
	var out []series.Series
	ms := at.UnixMilli()
	for _, f := range families {
		for _, s := range f.series {
			one := series.Series{Labels: s.Labels}
			for _, v := range s.Floats {
				one.Floats = append(one.Floats, series.Float{At: ms, Value: v.Value})
			}
			for _, h := range s.Histograms {
				var m prompb.Histogram
				if err := m.Unmarshal(h.Data); err != nil {
					return nil, fmt.Errorf("%w: %w", errBody, err)
				}
				m.Timestamp = ms
				data, err := m.Marshal()
				if err != nil {
					return nil, err
				}
				one.Histograms = append(one.Histograms, series.Histogram{At: ms, Data: data})
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// ended gives each series a staleness marker at that time.
func ended(s []series.Series, at time.Time) []series.Series {
	marker := math.Float64frombits(value.StaleNaN)
	for i := range s {
		s[i].Floats, s[i].Histograms = []series.Float{{At: at.UnixMilli(), Value: marker}}, nil
	}
	return s
}

// ownFamilies are the Pushgateway's two metrics of a group.
func ownFamilies(g *series.Group) []*family {
	one := func(name, help string, t time.Time) *family {
		l := append([]series.Label{{Name: series.NameLabel, Value: name}}, g.Labels...)
		l = slices.DeleteFunc(l, func(l series.Label) bool { return l.Value == "" })
		series.Sort(l)
		v := 0.0
		if !t.IsZero() {
			v = float64(t.UnixMilli()) / 1000
		}
		return &family{
			Metadata: series.Metadata{Name: name, Type: "gauge", Help: help},
			series:   []series.Series{{Labels: l, Floats: []series.Float{{Value: v}}}},
		}
	}
	return []*family{
		one(pushTime, "Last Unix time when changing this group in the Pushgateway succeeded.", g.PushedAt),
		one(pushFailureTime, "Last Unix time when changing this group in the Pushgateway failed.", g.FailedAt),
	}
}

// without leaves out the families that only the gateway may write.
func without(families []*family) []*family {
	return slices.DeleteFunc(families, func(f *family) bool { return f.Name == pushTime || f.Name == pushFailureTime })
}

// describe are the descriptions of the families.
func describe(families []*family) []series.Metadata {
	out := make([]series.Metadata, len(families))
	for i, f := range families {
		out[i] = f.Metadata
	}
	return out
}
