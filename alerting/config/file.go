package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	commoncfg "github.com/prometheus/common/config"
)

// ReadFiles reads a configuration's file and the templates that it names: patterns, relative to the file. The templates are there by
// the names that the patterns give them. What cannot be read of the YAML is Load's to say.
func ReadFiles(name string, read func(name string) ([]byte, error)) (Source, error) {
	content, err := read(name)
	if err != nil {
		return Source{}, err
	}
	s := Source{YAML: string(content), Templates: map[string]string{}}
	document, err := parse(s.YAML)
	if err != nil {
		return s, nil //nolint:nilerr // Load says it, with all the rest
	}
	root, err := expand(document)
	if err != nil {
		return s, nil //nolint:nilerr // as above
	}
	dir := filepath.Dir(name)
	for _, n := range items(root, "templates") {
		pattern := n.Value
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dir, pattern)
		}
		files, err := filepath.Glob(pattern)
		if err != nil {
			return Source{}, fmt.Errorf("templates: %q: %w", n.Value, err)
		}
		for _, file := range files {
			text, err := read(file)
			if err != nil {
				return Source{}, err
			}
			name := file
			if relative, err := filepath.Rel(dir, file); err == nil && !filepath.IsAbs(n.Value) {
				name = filepath.ToSlash(relative)
			}
			s.Templates[name] = string(text)
		}
	}
	return s, nil
}

// LoadFile reads the configuration of --alertmanager-config, which is the operator's own: it may name files, relative to itself, and
// patterns of templates that match none. An error has the file's name before each line.
func LoadFile(name string, o Options) (*Config, error) {
	s, err := ReadFiles(name, os.ReadFile)
	if err != nil {
		return nil, err
	}
	c, err := load(s, o, own)
	if err != nil {
		return nil, InFile(name, err)
	}
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	setDirectory(reflect.ValueOf(c.Alertmanager), dir)
	return c, nil
}

// InFile puts the file before each of an error's problems: an editor finds its way to file:line.
func InFile(name string, err error) error {
	p, ok := errors.AsType[Problems](err)
	if !ok {
		return fmt.Errorf("%s: %w", name, err)
	}
	out := make([]error, len(p))
	for i, one := range p {
		if one.Line > 0 {
			out[i] = fmt.Errorf("%s:%d: %s", name, one.Line, one.Text)
		} else {
			out[i] = fmt.Errorf("%s: %s", name, one.Text)
		}
	}
	return errors.Join(out...)
}

// setDirectory makes the names of files in HTTP configurations relative to the directory, as Alertmanager does.
func setDirectory(v reflect.Value, dir string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if h, ok := reflect.TypeAssert[*commoncfg.HTTPClientConfig](v); ok {
			h.SetDirectory(dir)
			return
		}
		if !isAddress(v.Type().Elem(), "") {
			setDirectory(v.Elem(), dir)
		}
	case reflect.Struct:
		for f := range fieldsOf(v.Type()) {
			if f.Name != "Route" {
				setDirectory(v.FieldByIndex(f.Index), dir)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			setDirectory(v.Index(i), dir)
		}
	default: // holds none
	}
}
