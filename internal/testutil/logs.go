package testutil

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Logged holds the logs of all Caddys that the tests of a package ran.
var Logged Logs

// Main runs the tests of a package, and returns the exit code. It fails the run if a secret of the recorded sites was
// logged anywhere in it. Call os.Exit(testutil.Main(m)) in TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	if err := Logged.FindSecrets(); err != nil {
		fmt.Println("FAIL:", err)
		return 1
	}
	return code
}

// Logs collects log lines from any goroutine.
type Logs struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

// Write implements io.Writer.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

// Logger returns a logger with all levels that writes here.
func (l *Logs) Logger() *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(l),
		zapcore.DebugLevel))
}

// FindSecrets returns an error if a secret of the recorded sites was logged, in any form that a client sends.
func (l *Logs) FindSecrets() error {
	secrets, err := recordedSecrets()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.lines.String()) {
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				return fmt.Errorf("the secret %s was logged: %s", secret, line)
			}
		}
	}
	return nil
}

// secretInHeader matches the secret in a header: what follows the colon of a pair, a token, or base64.
var secretInHeader = regexp.MustCompile(`(?:^|[ :])([0-9A-Za-z+/=]{12,})$`)

// RecordedSession is the id of the session of the recordings.
const RecordedSession = "9ad565354bb223aa3823716186757d7be4fe776277ba2f174c156852"

// recordedSecrets returns the API secrets, access tokens and base64 pairs of the corpus, and the session of the
// recordings.
func recordedSecrets() ([]string, error) {
	root, err := repositoryRoot()
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(root, corpusFile))
	if err != nil {
		return nil, err
	}
	var cases []Recording
	if err := json.Unmarshal(raw, &cases); err != nil {
		return nil, err
	}
	var secrets []string
	for _, c := range cases {
		for _, header := range c.Authorization {
			if match := secretInHeader.FindStringSubmatch(header); match != nil {
				secrets = append(secrets, match[1])
			}
		}
	}
	if len(secrets) < 20 {
		return nil, fmt.Errorf("the corpus has only %d secrets", len(secrets))
	}
	return append(secrets, RecordedSession), nil
}
