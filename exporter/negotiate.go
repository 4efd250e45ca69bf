package exporter

import (
	"slices"
	"strconv"
	"strings"
)

// wish is one thing that a client takes: an entry of Accept or Accept-Encoding.
type wish struct {
	what   string
	params map[string]string
	q      float64
}

// wishes are those of a header, the dearest first and in the client's order where it likes them equally; what it refuses (q=0)
// comes last. What cannot be read is passed over.
func wishes(header []string) []wish {
	var all []wish
	for _, h := range header {
		for item := range strings.SplitSeq(h, ",") {
			if w := parseWish(item); w.what != "" {
				all = append(all, w)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b wish) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	return all
}

func parseWish(s string) wish {
	what, rest, _ := strings.Cut(s, ";")
	w := wish{what: strings.ToLower(strings.TrimSpace(what)), params: map[string]string{}, q: 1}
	for p := range strings.SplitSeq(rest, ";") {
		k, v, _ := strings.Cut(p, "=")
		k, v = strings.ToLower(strings.TrimSpace(k)), strings.Trim(strings.TrimSpace(v), `"`)
		if k != "q" {
			w.params[k] = v
			continue
		}
		q, err := strconv.ParseFloat(v, 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return wish{}
		}
		w.q = q
	}
	return w
}

// formatOf is the format that the client likes best of those there are; text where it names none of them, as every exporter
// does.
func formatOf(accept []string) format {
	for _, w := range wishes(accept) {
		if w.q == 0 {
			break
		}
		switch w.what {
		case "application/vnd.google.protobuf":
			if w.params["proto"] == "io.prometheus.client.MetricFamily" && w.params["encoding"] == "delimited" {
				return proto
			}
		case "application/openmetrics-text":
			if v := w.params["version"]; v == "" || v == "1.0.0" {
				return openMetrics
			}
		case "text/plain":
			if v := w.params["version"]; v == "" || v == "0.0.4" {
				return text
			}
		case "text/*", "*/*":
			return text
		}
	}
	return text
}

// encodingOf is how the client would best have the answer packed. Between equals zstd is taken before gzip: it is the quicker
// to unpack.
func encodingOf(accept []string) encoding {
	best, likes := identity, 0.0
	all := wishes(accept)
	refused := func(name string) bool {
		return slices.ContainsFunc(all, func(w wish) bool { return w.what == name && w.q == 0 })
	}
	for _, w := range all {
		e := identity
		switch w.what {
		case "zstd":
			e = zstandard
		case "gzip", "x-gzip":
			e = gzip
		case "*":
			if !refused("gzip") {
				e = gzip
			}
		case "identity":
		default:
			continue
		}
		if w.q > likes || w.q == likes && w.q > 0 && e > best {
			best, likes = e, w.q
		}
	}
	return best
}

func contentType(f format) string {
	switch f {
	case openMetrics:
		return "application/openmetrics-text; version=1.0.0; charset=utf-8"
	case proto:
		return "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	default:
		return "text/plain; version=0.0.4; charset=utf-8"
	}
}

func contentEncoding(e encoding) string {
	switch e {
	case gzip:
		return "gzip"
	case zstandard:
		return "zstd"
	default:
		return ""
	}
}
