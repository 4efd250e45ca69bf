package receivers

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	commoncfg "github.com/prometheus/common/config"
)

// kinds are the lists of Alertmanager's receivers whose notifiers were read, as of v0.34.1, for ways around our dialer. A list that is not
// here is refused, so that a new version's kind is read first. What was found:
//
//   - All but email and sns make their one client by commoncfg.NewClientFromConfig with the options they are given: dialer, no
//     keep-alives. Redirects are followed where http_config says so (by default): we say no in a copy. opsgenie (3 requests), jira (search,
//     then create or transition), wechat (token, then message) and rocketchat use that same client for all they do.
//   - oauth2 in an http_config makes a transport of its own for the token URL, with the same dialer; it follows redirects, each
//     of which is dialled, and so checked, again. It has a proxy setting of its own.
//   - proxy_from_environment is refused in both places: behind such a proxy the address checked would be the proxy's, and it may be one that
//     reaches private hosts. A proxy_url is connected to through our dialer: a public one is the customer's own affair.
//   - sns talks through the AWS SDK. With use_aws_http_client, or AWS_CA_BUNDLE in the environment, it makes a client that knows nothing of
//     our dialer: refused. Without an access key, or with a profile, it would find credentials of this machine (environment, files,
//     instance metadata) and act as us: refused. sigv4 is nowhere else.
//   - telegram gives its bot the client, and the bot makes requests without the context of the notification: the connection's own end
//     (see bounded) ends them. It writes the token into the bot for every message, and wechat keeps an access token, both without a lock: one
//     attempt at a time. telegram also dereferences what the server answered: an attempt that panics fails.
//   - email connects with a dialer of its own: an EmailFactory takes its place.
//   - slack, with app_token, and the rest take URLs from the configuration or from templates over labels: whatever comes out is dialled by us.
//     net/http knows no scheme but http and https.
//   - Every *_file, and *_ref of a secret manager, is refused, wherever it stands: it would read this machine's files.
func kinds() map[string]string {
	return map[string]string{
		"discord_configs": "discord", "email_configs": "email", "incidentio_configs": "incidentio", "pagerduty_configs": "pagerduty",
		"slack_configs": "slack", "webhook_configs": "webhook", "opsgenie_configs": "opsgenie", "wechat_configs": "wechat",
		"pushover_configs": "pushover", "victorops_configs": "victorops", "sns_configs": "sns", "telegram_configs": "telegram",
		"webex_configs": "webex", "msteams_configs": "msteams", "msteamsv2_configs": "msteamsv2", "jira_configs": "jira",
		"rocketchat_configs": "rocketchat", "mattermost_configs": "mattermost",
	}
}

// oneAtATime are the kinds whose notifiers keep something without a lock.
func oneAtATime(kind string) bool { return kind == "telegram" || kind == "wechat" }

// safe returns a copy of Alertmanager's receiver that follows no redirects, or says why it cannot be used.
func (r *Receivers) safe(rc amconfig.Receiver) (amconfig.Receiver, error) {
	known := kinds()
	v := reflect.ValueOf(&rc).Elem()
	for i := range v.NumField() {
		list := v.Field(i)
		if list.Kind() != reflect.Slice || list.Len() == 0 {
			continue
		}
		key := yamlKey(v.Type().Field(i))
		if known[key] == "" {
			return rc, fmt.Errorf("%s is not supported here", key)
		}
		copies := reflect.MakeSlice(list.Type(), list.Len(), list.Len())
		for j := range list.Len() {
			if list.Index(j).IsNil() {
				return rc, fmt.Errorf("%s[%d] is empty", key, j)
			}
			one := reflect.New(list.Type().Elem().Elem())
			one.Elem().Set(list.Index(j).Elem())
			if err := isolate(one.Elem(), r.o.Files); err != nil {
				return rc, fmt.Errorf("%s[%d]: %w", key, j, err)
			}
			copies.Index(j).Set(one)
		}
		list.Set(copies)
	}
	for i, c := range rc.SNSConfigs {
		if err := checkSNS(c, r.o.CABundle); err != nil {
			return rc, fmt.Errorf("sns_configs[%d]: %w", i, err)
		}
	}
	return rc, nil
}

// isolate makes the HTTP configuration of a copied entry safe, and refuses what reads files, unless files are allowed.
func isolate(entry reflect.Value, files bool) error {
	if name := fileIn(entry); name != "" && !files {
		return fmt.Errorf("%s reads from the server's own machine, which is not allowed: give the value itself", name)
	}
	field := entry.FieldByName("HTTPConfig")
	if !field.IsValid() {
		return nil
	}
	c := commoncfg.DefaultHTTPClientConfig
	if given, ok := reflect.TypeAssert[*commoncfg.HTTPClientConfig](field); ok && given != nil {
		c = *given
	}
	if c.ProxyFromEnvironment || (c.OAuth2 != nil && c.OAuth2.ProxyFromEnvironment) {
		return errors.New("proxy_from_environment is not allowed: give a proxy_url, or none")
	}
	c.FollowRedirects = false
	field.Set(reflect.ValueOf(&c))
	return nil
}

// fileIn returns the key of the first setting, at any depth, that names a file or a reference to a secret kept elsewhere.
func fileIn(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return fileIn(v.Elem())
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if name := fileIn(v.MapIndex(key)); name != "" {
				return name
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if name := fileIn(v.Index(i)); name != "" {
				return name
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			reads := strings.HasSuffix(f.Name, "File") || strings.HasSuffix(f.Name, "Files") || strings.HasSuffix(f.Name, "Ref")
			if reads && v.Field(i).Kind() != reflect.Bool && !empty(v.Field(i)) {
				return yamlKey(f)
			}
			if name := fileIn(v.Field(i)); name != "" {
				return name
			}
		}
	default: // nothing below
	}
	return ""
}

func yamlKey(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

func empty(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

func checkSNS(c *amconfig.SNSConfig, bundle bool) error {
	switch {
	case c.UseAWSHTTPClient:
		return errors.New("use_aws_http_client is not allowed")
	case bundle:
		return errors.New("SNS cannot be used while AWS_CA_BUNDLE is set in the server's environment")
	case c.Sigv4.Profile != "":
		return errors.New("sigv4.profile would use the server's own credentials: give access_key and secret_key")
	case c.Sigv4.AccessKey == "" || c.Sigv4.SecretKey == "":
		return errors.New("sigv4.access_key and sigv4.secret_key are required")
	case c.Sigv4.Region == "":
		return errors.New("sigv4.region is required")
	}
	return nil
}
