package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tokiflow/tokiflow/infra/seal"
)

func box(t testing.TB, fill byte) *seal.Box {
	t.Helper()
	b, err := seal.New(bytes.Repeat([]byte{fill}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatIsSealedOpensInItsPlaceAlone(t *testing.T) {
	b, about := box(t, 1), []byte("forward of one")
	for _, plain := range [][]byte{nil, []byte("hunter2"), bytes.Repeat([]byte("long"), 10_000)} {
		sealed, err := b.Seal(plain, about)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 0 && bytes.Contains(sealed, plain) {
			t.Error("it can be read")
		}
		got, err := b.Open(sealed, about)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%v, %q", err, got)
		}
		if _, err := b.Open(sealed, []byte("forward of two")); !errors.Is(err, seal.ErrBroken) {
			t.Errorf("in another's place: %v", err)
		}
		if _, err := box(t, 2).Open(sealed, about); !errors.Is(err, seal.ErrOtherKey) {
			t.Errorf("with another key: %v", err)
		}
		again, err := b.Seal(plain, about)
		if err != nil || bytes.Equal(again, sealed) {
			t.Errorf("the same twice looks the same: %v", err)
		}
	}
}

func TestNothingChangedOpens(t *testing.T) {
	b, about := box(t, 1), []byte("about")
	sealed, err := b.Seal([]byte("secret"), about)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for _, bit := range []byte{1, 0x80} {
			changed := bytes.Clone(sealed)
			changed[i] ^= bit
			if _, err := b.Open(changed, about); err == nil {
				t.Errorf("byte %d may be changed", i)
			}
		}
		if _, err := b.Open(sealed[:i], about); err == nil {
			t.Errorf("it may be cut off at %d", i)
		}
	}
}

func TestKeysAsPeopleWriteThem(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb, 0xff}, seal.KeySize/2)
	for _, text := range []string{
		hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), " " + hex.EncodeToString(key) + "\n",
		base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
	} {
		if got, err := seal.ParseKey(text); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "password", hex.EncodeToString(key[:16]), hex.EncodeToString(append(key, 1)), strings.Repeat("z", 64)} {
		if _, err := seal.ParseKey(text); err == nil || strings.Contains(err.Error(), "password\"") {
			t.Errorf("%q is taken: %v", text, err)
		}
	}
	if _, err := seal.New(key[:16]); err == nil {
		t.Error("half a key is taken")
	}
}

func TestTheKeysFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	var wg sync.WaitGroup
	keys := make([][]byte, 8)
	for i := range keys { // several processes at once
		wg.Go(func() {
			key, err := seal.FileKey(folder)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	wg.Wait()
	for _, k := range keys[1:] {
		if !bytes.Equal(k, keys[0]) || len(k) != seal.KeySize {
			t.Fatal("they have different keys")
		}
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 1 {
		t.Fatalf("left behind: %v, %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(folder, files[0].Name()), []byte("scribble"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.FileKey(folder); err == nil {
		t.Error("a broken key is taken or replaced")
	}
}

func FuzzOpen(f *testing.F) {
	b := box(f, 1)
	sealed, err := b.Seal([]byte("secret"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if plain, err := b.Open(data, nil); err == nil && string(plain) != "secret" {
			t.Errorf("forged: %q", plain)
		}
	})
}
