package redis

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// maxMessage is the longest message that is looked at, in bytes. Those about documents have some hundred.
	maxMessage = 64 << 10

	// maxName is the longest name of a document, in bytes: 140 characters, as in Frappe's columns.
	maxName = 560
)

// sweeping lists the doctypes whose changes may concern any credential of the site.
var sweeping = []string{"Role", "Role Profile", "OAuth Client", "System Settings"}

// changeOf returns what a message of Frappe concerns. It returns relevant as false if that is no credential, and an
// error if the message is malformed. If sites is not empty, only messages of these sites are relevant, and those that
// do not say which site they are from.
func changeOf(raw string, sites []string) (change frappe.Change, relevant bool, err error) {
	var m struct {
		Event     string          `json:"event"`
		Message   json.RawMessage `json:"message"`
		Namespace string          `json:"namespace"`
		Room      string          `json:"room"`
	}
	if len(raw) > maxMessage {
		return change, false, errTooLong
	}
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		return change, false, errMalformed
	}
	if m.Event != "doc_update" && m.Event != "list_update" {
		return change, false, nil
	}
	var document struct {
		Doctype string          `json:"doctype"`
		Name    json.RawMessage `json:"name"`
	}
	if err := json.Unmarshal(m.Message, &document); err != nil {
		return change, false, errMalformed
	}
	change.Site = siteOf(m.Namespace, m.Room)
	if len(change.Site) > maxName {
		return change, false, errTooLong
	}
	if len(sites) > 0 && change.Site != "" && !slices.Contains(sites, change.Site) {
		return change, false, nil
	}
	var name string
	switch {
	case slices.Contains(sweeping, document.Doctype):
		change.Everything = true
		return change, true, nil
	case document.Doctype != "User" && document.Doctype != "OAuth Bearer Token":
		return change, false, nil
	case json.Unmarshal(document.Name, &name) != nil || name == "" || len(name) > maxName:
		return change, false, errMalformed
	case document.Doctype == "User":
		change.User = name
	default:
		change.Token = name
	}
	return change, true, nil
}

// siteOf returns the site of a message, in lower case, as a frappe.SiteResolver names it. Frappe 15 and later write the
// namespace. Before, the room begins with the site: `erp.example.com:doc:User/…`. It is empty if neither tells.
func siteOf(namespace, room string) string {
	if namespace != "" {
		return strings.ToLower(namespace)
	}
	for _, kind := range []string{":doctype:", ":doc:"} {
		if site, _, ok := strings.Cut(room, kind); ok {
			return strings.ToLower(site)
		}
	}
	return ""
}
