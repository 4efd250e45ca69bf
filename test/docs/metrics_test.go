package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const metricsPage = "docs/metrics.md"

// made are the metrics of Tokiflow itself that the code makes: the names in files that use client_golang.
func made(t *testing.T) map[string]string {
	t.Helper()
	name := regexp.MustCompile(`^tokiflow_[a-z0-9_]+$`)
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "test") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			if strings.HasPrefix(i.Path.Value, `"github.com/prometheus/client_golang/`) {
				ast.Inspect(file, func(n ast.Node) bool {
					if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						if s, err := strconv.Unquote(lit.Value); err == nil && name.MatchString(s) {
							out[s] = path
						}
					}
					return true
				})
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEveryMetricIsOnItsPage, and the page has no other.
func TestEveryMetricIsOnItsPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, metricsPage))
	if err != nil {
		t.Fatal(err)
	}
	code := made(t)
	page := map[string]bool{}
	row := regexp.MustCompile("^\\| `(tokiflow_[a-z0-9_]+)(?:\\{[a-z_,]+\\})?` \\| [A-Z0-9].*\\. \\| (?:.*[.:]? )?\\|$")
	mention := regexp.MustCompile(`\btokiflow_[a-z0-9_]+`)
	for n, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "| `") {
			m := row.FindStringSubmatch(line)
			if m == nil {
				t.Errorf("%s:%d: not of the form | `metric{labels}` | Meaning. | what to do |: %s", metricsPage, n+1, line)
				continue
			}
			if page[m[1]] {
				t.Errorf("%s:%d: %s is there twice", metricsPage, n+1, m[1])
			}
			page[m[1]] = true
		}
		for _, name := range mention.FindAllString(line, -1) {
			if code[name] == "" {
				t.Errorf("%s:%d: nothing in the code is called %s", metricsPage, n+1, name)
			}
		}
	}
	for name, file := range code {
		if !page[name] {
			t.Errorf("%s makes %s, which has no row in %s: say what it means, and what to do when it is bad", strings.TrimPrefix(file, root+"/"), name, metricsPage)
		}
	}
}
