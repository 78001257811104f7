package backends

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// unknownSiteTTL is how long it is remembered that a backend does not have a site. A newly created site may get 404
	// for that long.
	unknownSiteTTL = time.Minute

	// maxUnknownSites is how many unknown sites are remembered.
	maxUnknownSites = 4096
)

// unknownSites are the sites that a backend recently said it does not have. Clients choose these names, so their number
// is bounded.
type unknownSites struct {
	mu    sync.Mutex
	sites *simplelru.LRU[string, time.Time] // when the backend was asked
}

func newUnknownSites() unknownSites {
	sites, _ := simplelru.NewLRU[string, time.Time](maxUnknownSites, nil)
	return unknownSites{sites: sites}
}

func (u *unknownSites) add(site string, asked time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sites.Add(site, asked)
}

func (u *unknownSites) has(site string, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	asked, ok := u.sites.Get(site)
	return ok && now.Sub(asked) < unknownSiteTTL
}
