package frappeauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// LoggedInTests is every line that was logged while the tests ran.
var LoggedInTests logCollector

// logCollector collects what is logged.
type logCollector struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

// Write implements io.Writer.
func (c *logCollector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines.Write(p)
}

// logger logs to the collector, everything.
func (c *logCollector) logger() *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(c), zapcore.DebugLevel))
}

// TestMain fails the test run if a secret was logged anywhere in it.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := LoggedInTests.findSecrets(); err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// findSecrets looks for every secret of the recorded sites, in each form in which a client sends it.
func (c *logCollector) findSecrets() error {
	secrets, err := recordedSecrets()
	if err != nil {
		return err
	}
	for line := range strings.Lines(c.lines.String()) {
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				return fmt.Errorf("FAIL: the secret %s was logged: %s", secret, line)
			}
		}
	}
	return nil
}

// recordedSecrets are the API secrets, access tokens and base64 pairs of the corpus.
func recordedSecrets() ([]string, error) {
	raw, err := os.ReadFile("testdata/authorization-corpus.json")
	if err != nil {
		return nil, err
	}
	var cases []struct{ Authorization []string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		return nil, err
	}
	var secrets []string
	for _, c := range cases {
		for _, header := range c.Authorization {
			// What stands behind a colon, or is no pair: a secret, a token, or base64.
			for _, match := range regexp.MustCompile(`(?:^|[ :])([0-9A-Za-z+/=]{12,})$`).FindAllStringSubmatch(header, -1) {
				secrets = append(secrets, match[1])
			}
		}
	}
	if len(secrets) < 20 {
		return nil, fmt.Errorf("only %d secrets in the corpus", len(secrets))
	}
	return secrets, nil
}

// TestSecretsAreFound: the search of the logs would find what it looks for.
func TestSecretsAreFound(t *testing.T) {
	for _, secret := range []string{"61066224add85e6", "641cc7393fbf7e529b94837c181e81", "MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg=="} {
		var c logCollector
		c.logger().Debug("refused", zap.String("api_key", "2c62…"))
		if err := c.findSecrets(); err != nil {
			t.Error(err)
		}
		c.logger().Debug("refused", zap.String("header", "token 2c6245becaa0961:"+secret))
		if c.findSecrets() == nil {
			t.Errorf("%s is not found", secret)
		}
	}
}
