package forward

import (
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/core/forward"
)

// A receiver that says the request back must not tell its secrets to whoever may read the forward.
func TestSecretsAreHiddenAsTheyAreSent(t *testing.T) {
	s := &forward.Secret{Username: "user", Password: "pass word", Headers: map[string]string{"Authorization": "Api-Token dt0c01.x", "X-Short": "abc"}}
	said := "Basic dXNlcjpwYXNzIHdvcmQ= (user, pass word), token dt0c01.x, all Api-Token dt0c01.x, abc"
	if got := hider(s).Replace(said); strings.ContainsAny(got, "0=") || !strings.HasSuffix(got, "abc") {
		t.Error(got)
	}
	if got := hider(&forward.Secret{}).Replace("Og== nothing"); got != "Og== nothing" {
		t.Error(got)
	}
}
