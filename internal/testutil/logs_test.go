package testutil

import (
	"testing"

	"go.uber.org/zap"
)

// TestFindSecrets: a secret in the logs is found.
func TestFindSecrets(t *testing.T) {
	for _, secret := range []string{AliceSecret, AliceToken, AliceBasic[len("Basic "):]} {
		var logs Logs
		logs.Logger().Debug("refused", zap.String("api_key", "2c62…"))
		if err := logs.FindSecrets(); err != nil {
			t.Error(err)
		}
		logs.Logger().Debug("refused", zap.String("header", "token 2c6245becaa0961:"+secret))
		if logs.FindSecrets() == nil {
			t.Errorf("%s is not found", secret)
		}
	}
}
