package rules_test

import (
	"os"
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/rules"
)

func TestTheExampleOfTheDocumentationIsValid(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	file, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("there is no example")
	}
	groups, errs := rules.NewFormat(false).ParseFile([]byte(file))
	if len(errs) > 0 || len(groups) == 0 {
		t.Error(errs)
	}
	for _, g := range groups {
		if errs := rules.Fit(g); len(errs) > 0 {
			t.Error(errs)
		}
	}
}
