package frappeauth

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// handlers holds the options of each handler and provider that serves, by their address, for the admin API.
var handlers = caddy.NewUsagePool()

// register shows the options to the admin API until unregister.
func (o *Options) register() { handlers.LoadOrStore(o, o) }

func (o *Options) unregister() error {
	_, err := handlers.Delete(o)
	return err
}

// handlersOf are the handlers and providers that share a state, by name.
func handlersOf(s *state) []*Options {
	var found []*Options
	handlers.Range(func(_, value any) bool {
		if o := value.(*Options); o.verifier.state == s {
			found = append(found, o)
		}
		return true
	})
	slices.SortStableFunc(found, func(a, b *Options) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// currentStates are the states of all handlers, or of those of that name: by the names of their handlers, those without a
// name last, and among these in an order that only another configuration changes.
func currentStates(name string) []*state {
	type sortable struct {
		*state
		by string
	}
	var found []sortable
	states.Range(func(fingerprint, value any) bool {
		s := value.(*state)
		if name != "" && !s.serves(name) {
			return true
		}
		by := "\xff"
		for _, o := range handlersOf(s) {
			if o.Name != "" {
				by = o.Name
				break
			}
		}
		found = append(found, sortable{s, by + "\xff" + fingerprint.(string)})
		return true
	})
	slices.SortFunc(found, func(a, b sortable) int { return strings.Compare(a.by, b.by) })
	sorted := make([]*state, len(found))
	for i, s := range found {
		sorted[i] = s.state
	}
	return sorted
}
