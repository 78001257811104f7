package database

import (
	"encoding/json"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver
)

// TestFingerprint: settings of one database are not taken for another's, and show no secret.
func TestFingerprint(t *testing.T) {
	s := newSite(t, "sqlite")
	a, b := provisioned(t, &Backend{Site: s.dir}), provisioned(t, &Backend{Site: s.dir})
	if a.Fingerprint() != b.Fingerprint() || a.source != b.source {
		t.Error("the same database is opened twice")
	}
	c := provisioned(t, &Backend{Site: s.dir, EncryptionKey: "MUx-kgDuoW3K9ELDxqTkj66Ki_XXwUytLVR5IbGA5nE="})
	if c.Fingerprint() == a.Fingerprint() || strings.Contains(c.Fingerprint(), "MUx") {
		t.Error("another encryption key is not told apart, or shown")
	}
	marshaled, _ := json.Marshal(a)
	if strings.Contains(string(marshaled), "hRND") {
		t.Error("the configuration shows the site's password")
	}
}

// TestRoleNames: all roles of the site but disabled ones.
func TestRoleNames(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		if _, err := b.RoleNames(t.Context()); err == nil ||
			!strings.Contains(err.Error(), "tabRole cannot be read; docs/database.md has the GRANT") {
			t.Errorf("without the table: %v", err)
		}
		s.createRoles(t)
		s.change(t, `UPDATE "tabRole" SET "disabled" = 1 WHERE "name" = 'Translator'`)
		b.source.current.Load().forgetSchema()
		names, err := b.RoleNames(t.Context())
		if got := strings.Join(names, ","); err != nil || len(names) != 26 || !strings.Contains(got, "System Manager") ||
			strings.Contains(got, "Translator") {
			t.Errorf("%d: %s %v", len(names), got, err)
		}
	})
}
