package pushgateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/ingest/remotewrite"
)

// family is a metric with its series, each of which has one value: a float, or a histogram.
type family struct {
	series.Metadata
	series []series.Series
}

// errTimestamps is the Pushgateway's own text.
var errTimestamps = errors.New("pushed metrics must not have timestamps")

// parser puts the entries of an exposition together to families.
type parser struct {
	families []*family
	byName   map[string]*family
	stamped  bool // a sample has a timestamp
	count    int
	most     int
}

// parse reads a body in the format that its Content-Type says; what it does not know is taken for text, as the Pushgateway does.
// stamped reports that samples had times of their own.
func parse(body []byte, contentType string, maxSeries int) (families []*family, stamped bool, err error) {
	p := &parser{byName: map[string]*family{}, most: maxSeries}
	table := labels.NewSymbolTable()
	kind, _, _ := mime.ParseMediaType(contentType)
	var entries textparse.Parser
	switch kind {
	case "application/vnd.google.protobuf":
		entries = textparse.NewProtobufParser(body, false, true, false, false, table)
	case "application/openmetrics-text":
		entries = textparse.NewOpenMetricsParser(body, table)
	default:
		if len(body) == 0 {
			return nil, false, nil
		}
		entries = textparse.NewPromParser(body, table, false)
	}
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return p.families, p.stamped, nil
		}
		if err == nil {
			err = p.take(entries, entry)
		}
		if err != nil {
			return nil, false, err
		}
	}
}

func (p *parser) take(e textparse.Parser, entry textparse.Entry) error {
	switch entry {
	case textparse.EntryType:
		name, kind := e.Type()
		return p.typed(string(name), kind)
	case textparse.EntryHelp:
		name, help := e.Help()
		p.family(string(name)).Help = string(help)
	case textparse.EntryUnit:
		name, unit := e.Unit()
		p.family(string(name)).Unit = string(unit)
	case textparse.EntrySeries:
		_, at, v := e.Series()
		p.stamped = p.stamped || at != nil
		return p.add(e, series.Series{Floats: []series.Float{{Value: v}}})
	case textparse.EntryHistogram:
		_, at, h, fh := e.Histogram()
		p.stamped = p.stamped || at != nil
		data, err := encodeHistogram(h, fh)
		if err != nil {
			return err
		}
		return p.add(e, series.Series{Histograms: []series.Histogram{{Data: data}}})
	default: // a comment
	}
	return nil
}

func (p *parser) typed(name string, kind model.MetricType) error {
	f := p.family(name)
	t := string(kind)
	if kind == model.MetricTypeUnknown {
		t = ""
	}
	if len(f.series) > 0 || f.Type != "" && f.Type != t {
		return fmt.Errorf("second TYPE line for metric name %q, or TYPE reported after samples", name)
	}
	f.Type = t
	return nil
}

func (p *parser) family(name string) *family {
	f := p.byName[name]
	if f == nil {
		f = &family{Metadata: series.Metadata{Name: name}}
		p.byName[name] = f
		p.families = append(p.families, f)
	}
	return f
}

// add puts a series into its family.
func (p *parser) add(e textparse.Parser, s series.Series) error {
	if p.count++; p.count > p.most {
		return fmt.Errorf("more than %d series", p.most)
	}
	var l labels.Labels
	e.Labels(&l)
	var name string
	l.Range(func(l labels.Label) {
		// The parser's strings are its body's, which is used again.
		s.Labels = append(s.Labels, series.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)})
		if l.Name == series.NameLabel {
			name = s.Labels[len(s.Labels)-1].Value
		}
	})
	f := p.familyOf(name)
	f.series = append(f.series, s)
	return nil
}

// familyOf finds the family that a series of that name belongs to: the one of its name, or one that was declared with a type whose
// series have suffixes.
func (p *parser) familyOf(name string) *family {
	if f := p.byName[name]; f != nil {
		return f
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count", "_total", "_created", "_gsum", "_gcount", "_info"} {
		base, ok := strings.CutSuffix(name, suffix)
		if f := p.byName[base]; ok && f != nil && slices.Contains(suffixes(f.Type), suffix) {
			return f
		}
	}
	return p.family(name)
}

func suffixes(kind string) []string {
	switch kind {
	case "histogram":
		return []string{"_bucket", "_sum", "_count", "_created"}
	case "gaugehistogram":
		return []string{"_bucket", "_gsum", "_gcount", "_sum", "_count"}
	case "summary":
		return []string{"_sum", "_count", "_created"}
	case "counter":
		return []string{"_total", "_created"}
	case "info":
		return []string{"_info"}
	}
	return nil
}

// encodeHistogram writes a native histogram as it is stored. Its time is set when it is appended.
func encodeHistogram(h *histogram.Histogram, fh *histogram.FloatHistogram) ([]byte, error) {
	var m prompb.Histogram
	if h != nil {
		m = prompb.FromIntHistogram(0, h)
	} else {
		m = prompb.FromFloatHistogram(0, fh)
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	if raw, err = remotewrite.Histogram(raw); err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	return raw, nil
}
