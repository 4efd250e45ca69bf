package samples

import (
	"crypto/sha256"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/tsdb/pgcopy"
)

// key is the first half of the SHA-256 of an organisation's id and labels: nobody can make two series with one key, so it stands
// for the labels in memory and in the database.
type key = [16]byte

// maxName is how long a metric's name may be, in bytes: it must fit into an index.
const maxName = 1024

// clean brings labels into the form in which they are stored: sorted, without empty values, and without what PostgreSQL cannot hold.
// ok is false where a label comes twice, or the name is too long. Labels that are clean, as nearly all are, are returned as they are.
func clean(l []series.Label) (_ []series.Label, ok bool) {
	last, dirty := "", false
	for i := range l {
		if i > 0 && l[i].Name <= last || l[i].Value == "" || !storable(l[i].Name) || !storable(l[i].Value) {
			dirty = true
			break
		}
		last = l[i].Name
	}
	if dirty {
		l = slices.Clone(l)
		for i := range l {
			l[i] = series.Label{Name: pgcopy.Storable(l[i].Name), Value: pgcopy.Storable(l[i].Value)}
		}
		l = slices.DeleteFunc(l, func(x series.Label) bool { return x.Value == "" })
		series.Sort(l)
		for i := 1; i < len(l); i++ {
			if l[i].Name == l[i-1].Name {
				return nil, false
			}
		}
	}
	return l, len(nameOf(l)) <= maxName
}

func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func nameOf(l []series.Label) string {
	for i := range l {
		if l[i].Name == series.NameLabel {
			return l[i].Value
		}
	}
	return ""
}

// keyOf is the key of clean labels. buf is memory to work in; it is returned, for the next call.
func keyOf(buf []byte, org tenant.OrgID, l []series.Label) (key, []byte) {
	buf = append(buf[:0], org.UUID[:]...)
	for i := range l {
		buf = append(buf, l[i].Name...)
		buf = append(buf, 0) // is in no clean string
		buf = append(buf, l[i].Value...)
		buf = append(buf, 0)
	}
	sum := sha256.Sum256(buf)
	return key(sum[:16]), buf
}
