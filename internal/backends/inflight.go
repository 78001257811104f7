package backends

import (
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// MaxWait is the longest time that a call waits for its turn.
	MaxWait = 5 * time.Second

	// WaitingPerCall times the limit is how many known, and how many unknown, calls may wait.
	WaitingPerCall = 64
)

// ErrBusy is the error if too many calls are waiting, or if a call waited too long.
var ErrBusy = errors.New("too many calls at once")

// inFlightLimit limits how many calls are in flight at once, and how many wait for a place. Unknown calls get at most
// three quarters of the places and have a separate queue, so that a flood of them does not block known ones. If
// there are several sites, each gets at most three quarters of the places and half of the queues, and the site with the
// fewest calls in flight is next, so that a slow site does not block the others. Calls may also be grouped by something
// other than sites.
type inFlightLimit struct {
	max int

	mu    sync.Mutex
	count [kinds]struct{ inFlight, waiting int }
	sites map[string]*siteCalls // with calls in flight or waiting
}

// kind is whether the credential of a call was granted before.
type kind int

const (
	known kind = iota
	unknown
	kinds
)

// siteCalls are the calls for one site. A waiting call gets its place when its channel is closed.
type siteCalls struct {
	inFlight int
	waiting  [kinds][]chan struct{}
}

func newInFlightLimit(limit int) *inFlightLimit {
	return &inFlightLimit{max: limit, sites: make(map[string]*siteCalls)}
}

// Max returns how many calls may be in flight.
func (l *inFlightLimit) Max() int { return l.max }

// InFlight returns how many calls are in flight.
func (l *inFlightLimit) InFlight() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.count[known].inFlight + l.count[unknown].inFlight)
}

// Waiting returns how many calls are waiting.
func (l *inFlightLimit) Waiting() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.count[known].waiting + l.count[unknown].waiting)
}

// Acquire waits for a place, for at most MaxWait. site is empty if there is only one. The only error is
// ErrBusy. If there is none, the caller must call release.
func (l *inFlightLimit) Acquire(site string, wasGood bool) (release func(), err error) {
	k := unknown
	if wasGood {
		k = known
	}
	l.mu.Lock()
	s := l.sites[site]
	if s == nil {
		s = new(siteCalls)
		l.sites[site] = s
	}
	if !l.hasPlace(site, s, k) {
		if err := l.wait(site, s, k); err != nil {
			return nil, err
		}
	} else {
		l.start(s, k)
		l.mu.Unlock()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.count[k].inFlight--
		s.inFlight--
		l.startWaiting()
		l.forget(site, s)
	}, nil
}

// hasPlace reports whether another call for a site may start.
func (l *inFlightLimit) hasPlace(site string, s *siteCalls, k kind) bool {
	if l.count[known].inFlight+l.count[unknown].inFlight >= l.max {
		return false
	}
	places := l.max
	if k == unknown {
		places = threeQuarters(l.max)
		if l.count[unknown].inFlight >= places {
			return false
		}
	}
	return site == "" || s.inFlight < threeQuarters(places)
}

func threeQuarters(n int) int { return max(1, n*3/4) }

func (l *inFlightLimit) start(s *siteCalls, k kind) {
	l.count[k].inFlight++
	s.inFlight++
}

// wait waits until a call gets a place. It unlocks l.mu.
func (l *inFlightLimit) wait(site string, s *siteCalls, k kind) error {
	most := l.max * WaitingPerCall
	if l.count[k].waiting >= most || site != "" && len(s.waiting[k]) >= most/2 {
		l.forget(site, s)
		l.mu.Unlock()
		return ErrBusy
	}
	turn := make(chan struct{})
	l.count[k].waiting++
	s.waiting[k] = append(s.waiting[k], turn)
	l.mu.Unlock()

	timer := time.NewTimer(MaxWait)
	defer timer.Stop()
	select {
	case <-turn:
		return nil
	case <-timer.C:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(s.waiting[k], turn)
	if i < 0 {
		return nil // it has just got its place
	}
	s.waiting[k] = slices.Delete(s.waiting[k], i, i+1)
	l.count[k].waiting--
	l.forget(site, s)
	return ErrBusy
}

// startWaiting gives free places to waiting calls: known ones first, and of each kind first those for the site
// with the fewest calls in flight.
func (l *inFlightLimit) startWaiting() {
	for k := range kinds {
		for {
			var next *siteCalls
			for site, s := range l.sites {
				if len(s.waiting[k]) > 0 && l.hasPlace(site, s, k) && (next == nil || s.inFlight < next.inFlight) {
					next = s
				}
			}
			if next == nil {
				break
			}
			l.start(next, k)
			l.count[k].waiting--
			close(next.waiting[k][0])
			next.waiting[k] = next.waiting[k][1:]
		}
	}
}

// forget removes a site that has no calls.
func (l *inFlightLimit) forget(site string, s *siteCalls) {
	if s.inFlight == 0 && len(s.waiting[known]) == 0 && len(s.waiting[unknown]) == 0 {
		delete(l.sites, site)
	}
}
