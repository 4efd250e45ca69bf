// Package seal keeps secrets of customers unreadable in the database: AES-256-GCM under a key that is not in it. Whoever has
// a dump of the database has nothing; whoever loses the key has to ask the customers again.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// KeySize is the length of a key in bytes.
const KeySize = 32

// keyFile is the key's name in the data directory.
const keyFile = "secret.key"

// What can be wrong with something sealed.
var (
	ErrOtherKey = errors.New("it was sealed with another key: start with the SECRET_KEY (or the file secret.key in the data directory) of then")
	ErrBroken   = errors.New("it is not what was sealed: changed, cut off or moved from another place")
)

// Box seals and opens with one key. Safe for concurrent use.
type Box struct {
	aead cipher.AEAD
	id   [4]byte // tells keys apart; says nothing of the key
}

// New makes a Box of a key of KeySize bytes.
func New(key []byte) (*Box, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a secret key has %d bytes, not %d", KeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	b := &Box{aead: aead}
	sum := sha256.Sum256(append([]byte("tokiflow seal key id\x00"), key...))
	copy(b.id[:], sum[:])
	return b, nil
}

// version is the first byte of everything sealed.
const version = 1

// Seal returns plain unreadable. It opens again only with the same about, which is not secret: what it belongs to.
func (b *Box) Seal(plain, about []byte) ([]byte, error) {
	out := append([]byte{version}, b.id[:]...)
	return b.aead.Seal(out, nil, plain, append(slices.Clip(out), about...)), nil //nolint:gosec // the AEAD draws the nonce: NewGCMWithRandomNonce
}

// Open returns what was sealed. The error is ErrOtherKey or ErrBroken.
func (b *Box) Open(sealed, about []byte) ([]byte, error) {
	head := 1 + len(b.id)
	if len(sealed) < head || sealed[0] != version {
		return nil, ErrBroken
	}
	if !bytes.Equal(sealed[1:head], b.id[:]) {
		return nil, ErrOtherKey
	}
	plain, err := b.aead.Open(nil, nil, sealed[head:], append(sealed[:head:head], about...))
	if err != nil {
		return nil, ErrBroken
	}
	return plain, nil
}

// ParseKey reads a key as people write it: 64 hexadecimal digits or base64 of 32 bytes.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if key, err := hex.DecodeString(text); err == nil && len(key) == KeySize {
		return key, nil
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := e.DecodeString(text); err == nil && len(key) == KeySize {
			return key, nil
		}
	}
	return nil, errors.New("a secret key is 32 random bytes as 64 hexadecimal digits or as base64: make one with `openssl rand -hex 32`")
}

// FileKey reads the key in the folder, and makes it where there is none yet: 0600, written in one piece.
func FileKey(folder string) ([]byte, error) {
	name := filepath.Join(folder, keyFile)
	key, err := readKey(name)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	key = make([]byte, KeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	if err := writeKey(folder, name, key); err != nil {
		return nil, fmt.Errorf("make the secret key: %w", err)
	}
	return readKey(name) // ours, or that of who was quicker
}

func readKey(name string) ([]byte, error) {
	text, err := os.ReadFile(name) //nolint:gosec // the folder is the operator's
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

// writeKey makes the file appear whole or not at all, and never replaces one.
func writeKey(folder, name string, key []byte) (err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, keyFile+".*") // made with 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncFolder(folder)
}

// syncFolder makes the new name durable: a key lost in a power cut is every secret lost.
func syncFolder(folder string) error {
	d, err := os.Open(folder) //nolint:gosec // the folder is the operator's
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
