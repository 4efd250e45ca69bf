package tokiflow_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tokiflow/tokiflow"

// source is one parsed file of the tree.
type source struct {
	name    string // with slashes, from the root
	test    bool
	imports []string
	tree    *ast.File
	fset    *token.FileSet
}

// pkg is one folder that holds Go files.
type pkg struct {
	folder string
	files  []source
}

func (p pkg) sources() []source {
	return slices.DeleteFunc(slices.Clone(p.files), func(f source) bool { return f.test })
}

// scan parses every Go file of the module inside the test process, so that the test cache sees what was read.
func scan(t *testing.T) []pkg {
	t.Helper()
	byFolder := map[string]*pkg{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(name, d)
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		f, err := parse(name)
		if err != nil {
			return err
		}
		folder := path.Dir(f.name)
		if byFolder[folder] == nil {
			byFolder[folder] = &pkg{folder: folder}
		}
		byFolder[folder].files = append(byFolder[folder].files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for _, p := range byFolder {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b pkg) int { return strings.Compare(a.folder, b.folder) })
	return all
}

// enter skips what is not of this module: hidden folders, test data, the data of a running program, nested modules.
func enter(name string, d fs.DirEntry) error {
	if name == "." {
		return nil
	}
	if strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "data" || name == "bin" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func parse(name string) (source, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{name: filepath.ToSlash(name), test: strings.HasSuffix(name, "_test.go"), tree: tree, fset: fset}
	for _, imp := range tree.Imports {
		value, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, value)
	}
	return s, nil
}

func TestEveryPackageHasAComment(t *testing.T) {
	for _, p := range scan(t) {
		sources := p.sources()
		if len(sources) == 0 {
			continue // tests only
		}
		if !slices.ContainsFunc(sources, func(f source) bool { return !ast.IsGenerated(f.tree) }) {
			continue
		}
		if !slices.ContainsFunc(sources, func(f source) bool { return f.tree.Doc != nil }) {
			t.Errorf("%s has no package comment", p.folder)
		}
	}
}

// impure lists what of the standard library a pure package may not import; whatever is below it neither.
func impure() []string {
	return []string{"os", "net", "database", "log", "io/ioutil", "syscall", "path/filepath", "testing", "plugin", "runtime"}
}

// clock lists the functions of package time that read or wait for the wall clock.
func clock() []string {
	return []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}
}

func TestCoreIsPure(t *testing.T) {
	for _, p := range scan(t) {
		if row, _ := placeOf(p.folder); !row.pure {
			continue
		}
		for _, f := range p.sources() {
			for _, imp := range f.imports {
				for _, bad := range impure() {
					if imp != "net/netip" && imp != "net/url" && (imp == bad || strings.HasPrefix(imp, bad+"/")) {
						t.Errorf("%s imports %s: a pure package does no I/O", f.name, imp)
					}
				}
			}
			for _, name := range clock() {
				for _, at := range calls(f, "time", name) {
					t.Errorf("%s uses time.%s: time is an argument", at, name)
				}
			}
		}
	}
}

// calls returns the positions at which the file names pkg.name.
func calls(f source, pkg, name string) []string {
	var found []string
	ast.Inspect(f.tree, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != name {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == pkg {
			found = append(found, f.fset.Position(sel.Pos()).String())
		}
		return true
	})
	return found
}

func TestNoPackageVariablesAndNoInit(t *testing.T) {
	for _, p := range scan(t) {
		row, _ := placeOf(p.folder)
		for _, f := range p.sources() {
			for _, d := range f.tree.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Recv == nil && d.Name.Name == "init" {
						t.Errorf("%s: no init", f.fset.Position(d.Pos()))
					}
				case *ast.GenDecl:
					if d.Tok == token.VAR && !row.process {
						checkVars(t, f, d)
					}
				}
			}
		}
	}
}

// checkVars allows error sentinels, embedded files and `var _ Interface = T{}`.
func checkVars(t *testing.T, f source, d *ast.GenDecl) {
	t.Helper()
	for _, s := range d.Specs {
		v := s.(*ast.ValueSpec)
		if embedded(d.Doc) || embedded(v.Doc) {
			continue
		}
		for i, name := range v.Names {
			if name.Name == "_" || len(v.Values) > i && makesError(v.Values[i]) {
				continue
			}
			t.Errorf("%s: package variable %s: pass it in", f.fset.Position(name.Pos()), name.Name)
		}
	}
}

func embedded(c *ast.CommentGroup) bool {
	return c != nil && slices.ContainsFunc(c.List, func(l *ast.Comment) bool { return strings.HasPrefix(l.Text, "//go:embed ") })
}

func makesError(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && ((id.Name == "errors" || id.Name == "fault") && sel.Sel.Name == "New" || id.Name == "fmt" && sel.Sel.Name == "Errorf")
}

func TestNoGlobalLoggerAndNoHiddenSwitches(t *testing.T) {
	for _, p := range scan(t) {
		row, _ := placeOf(p.folder)
		for _, f := range p.sources() {
			if slices.Contains(f.imports, "log") {
				t.Errorf("%s imports log: take a *slog.Logger", f.name)
			}
			for _, name := range []string{"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "Log", "DebugContext", "InfoContext", "WarnContext", "ErrorContext"} {
				for _, at := range calls(f, "slog", name) {
					t.Errorf("%s uses slog.%s: take a *slog.Logger", at, name)
				}
			}
			if row.command {
				continue
			}
			for _, name := range []string{"Getenv", "LookupEnv", "Exit"} {
				for _, at := range calls(f, "os", name) {
					t.Errorf("%s uses os.%s: only the program does, everything else takes options", at, name)
				}
			}
		}
	}
}
