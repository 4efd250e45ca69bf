package mail_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tokiflow/tokiflow/core/mail"
)

func TestCanRetry(t *testing.T) {
	cause := errors.New("because")
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{cause, true},
		{&mail.Error{Err: cause}, false},
		{&mail.Error{Err: cause, Retry: true, Code: 451}, true},
		{fmt.Errorf("around: %w", &mail.Error{Err: cause}), false},
	} {
		if got := mail.CanRetry(c.err); got != c.want {
			t.Errorf("%v: got %t", c.err, got)
		}
	}
	if err := error(&mail.Error{Err: cause}); !errors.Is(err, cause) || err.Error() != "because" {
		t.Errorf("got %v", err)
	}
}
