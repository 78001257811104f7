// Package relay carries a session of Frappe to other hosts. Frappe's cookie is bound to the ERP's host, so a browser
// that opens a page of another host goes once over the ERP's host and comes back with a ticket:
//
//	the other host   a State, sealed, goes to the ERP's host in the URL; a cookie binds it to the browser
//	the ERP's host   a ticket, the session sealed for this State, goes back in the URL
//	the other host   the session, sealed for this host, becomes a cookie
//
// Nothing is stored: whatever is sealed can be opened by every Caddy with the same secret, and by nobody else
// (AES-256-GCM with random nonces; keys by HKDF-SHA256, one for each kind of content).
package relay

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
)

const (
	// MinSecret is the shortest secret, in bytes.
	MinSecret = 32

	// MaxSecrets is how many secrets may be in use at once: a new one, and those before it.
	MaxSecrets = 4

	// MaxTicket is how long a ticket is good. The clocks of two Caddys may differ by as much.
	MaxTicket = time.Minute

	// MaxLogin is how long a user may take to log in.
	MaxLogin = time.Hour

	// maxState is the longest content of a State. Sealed, it fits into the query that Frappe's login page returns to:
	// gunicorn reads request lines of up to 4094 bytes.
	maxState = 2200

	// maxSealed is the longest sealed text that is opened, and maxCookies how many cookies of one name are.
	maxSealed, maxCookies = 4096, 8
)

// Keys seal and open what is carried.
type Keys struct{ state, ticket, session []cipher.AEAD } // each under every secret, the new one first

// NewKeys returns the keys of secrets, of which the first is the newest.
func NewKeys(secrets []string) (*Keys, error) {
	k := new(Keys)
	for _, secret := range secrets {
		if err := CheckSecret(secret); err != nil {
			return nil, err
		}
		for use, into := range map[string]*[]cipher.AEAD{"state": &k.state, "ticket": &k.ticket, "session": &k.session} {
			key, err := hkdf.Key(sha256.New, []byte(secret), nil, "frappe-auth login, version 1, "+use, 32)
			if err != nil {
				return nil, err
			}
			block, err := aes.NewCipher(key)
			if err != nil {
				return nil, err
			}
			aead, err := cipher.NewGCMWithRandomNonce(block)
			if err != nil {
				return nil, err
			}
			*into = append(*into, aead)
		}
	}
	return k, nil
}

// CheckSecret returns an error if a secret is too short.
func CheckSecret(secret string) error {
	if len(secret) < MinSecret {
		return fmt.Errorf("%d bytes are too few; it needs %d or more, such as the output of openssl rand -hex 32",
			len(secret), MinSecret)
	}
	return nil
}

// seal encrypts and authenticates a text for a place.
func seal(aead cipher.AEAD, place, plain string) string {
	//nolint:gosec // the nonce is random (cipher.NewGCMWithRandomNonce)
	return encoding.EncodeToString(aead.Seal(nil, nil, []byte(plain), []byte(place)))
}

// encoding refuses texts that differ only in bits without a meaning.
var encoding = base64.RawURLEncoding.Strict()

// open returns what was sealed for a place, and under which of the secrets.
func open(aeads []cipher.AEAD, place, sealed string) (plain string, secret int, ok bool) {
	if len(sealed) > maxSealed {
		return "", 0, false
	}
	var buffer [256]byte // a session fits, sealed and plain
	raw, err := encoding.AppendDecode(buffer[:0:144], []byte(sealed))
	if err != nil {
		return "", 0, false
	}
	for secret, aead := range aeads {
		if plain, err := aead.Open(buffer[144:144], nil, raw, []byte(place)); err == nil {
			return string(plain), secret, true
		}
	}
	return "", 0, false
}

// timed puts a time before a text.
func timed(at time.Time, text string) string {
	return strconv.FormatInt(at.UnixNano(), 10) + "\n" + text
}

// cutTime returns the time before a text, and the text.
func cutTime(plain string) (at time.Time, text string, ok bool) {
	before, text, ok := strings.Cut(plain, "\n")
	nanoseconds, err := strconv.ParseInt(before, 10, 64)
	return time.Unix(0, nanoseconds), text, ok && err == nil
}

// State is a login that a host has begun.
type State struct {
	// Origin is that of the host, as Origin returns it.
	Origin string

	// Back is the path and the query that the browser asked for, byte for byte.
	Back string

	// Browser is the value of the cookie that binds the login to a browser.
	Browser string

	// Again is set if an earlier login could not be finished, and this one was begun in its place.
	Again bool

	// Began is when the login began.
	Began time.Time

	secret int // under which it was sealed
}

// SealState returns a text for a URL. If the way back is too long, it loses its query, or becomes `/`.
func (k *Keys) SealState(s State) string {
	plain := ""
	path, _, _ := strings.Cut(s.Back, "?")
	for _, back := range []string{s.Back, path, "/"} {
		plain = timed(s.Began, strings.Join([]string{s.Origin, strconv.FormatBool(s.Again), s.Browser, back}, "\n"))
		if len(plain) <= maxState {
			break
		}
	}
	return seal(k.state[0], "", plain)
}

// OpenState returns what SealState has sealed. It may be of any age.
func (k *Keys) OpenState(sealed string) (s State, ok bool) {
	plain, secret, ok := open(k.state, "", sealed)
	if !ok {
		return State{}, false
	}
	began, text, timed := cutTime(plain)
	fields := strings.SplitN(text, "\n", 4)
	if !timed || len(fields) != 4 || !strings.HasPrefix(fields[3], "/") {
		return State{}, false
	}
	return State{
		Origin: fields[0], Again: fields[1] == "true", Browser: fields[2], Back: fields[3], Began: began, secret: secret,
	}, true
}

// SealTicket returns a session as text for a URL, for a login, which is given as it was sealed and opened. It is sealed
// under the same secret, as the other host may not have the new one yet.
func (k *Keys) SealTicket(login State, sealedState, session string, now time.Time) string {
	return seal(k.ticket[login.secret], sealedState, timed(now, session))
}

// OpenTicket returns the session of a ticket for a login, if it is not too old.
func (k *Keys) OpenTicket(sealedState, ticket string, now time.Time) (session string, ok bool) {
	plain, _, ok := open(k.ticket, sealedState, ticket)
	if !ok {
		return "", false
	}
	at, session, ok := cutTime(plain)
	return session, ok && now.Sub(at).Abs() <= MaxTicket && frappe.ValidSession(session)
}

// The names of the cookies over plain http. Over https they begin with `__Host-`, which browsers take from the host
// itself only, and not from another host of the domain.
const (
	sessionCookie = "frappe_auth"
	browserCookie = "frappe_auth_login"
	hostPrefix    = "__Host-"
)

// cookie returns a cookie of an origin. value is empty: browsers remove it.
func cookie(origin, name, value string, life time.Duration) *http.Cookie {
	//nolint:gosec // Secure as the origin is: over plain http a browser would not send it back
	c := &http.Cookie{
		Name: CookieName(origin, name), Value: value, Path: "/", MaxAge: int(life / time.Second),
		HttpOnly: true, Secure: secure(origin), SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// CookieName returns the name of a cookie at an origin.
func CookieName(origin, name string) string {
	if secure(origin) {
		return hostPrefix + name
	}
	return name
}

// SessionCookieName returns the name of the cookie with the session at an origin.
func SessionCookieName(origin string) string { return CookieName(origin, sessionCookie) }

func secure(origin string) bool { return strings.HasPrefix(origin, "https://") }

// SetSession lets the browser keep a session for an origin, until it is closed.
func (k *Keys) SetSession(w http.ResponseWriter, origin, session string, now time.Time) {
	http.SetCookie(w, cookie(origin, sessionCookie, seal(k.session[0], withoutPort(origin), timed(now, session)), 0))
}

// RemoveSession makes the browser remove the session of an origin.
func RemoveSession(w http.ResponseWriter, origin string) {
	http.SetCookie(w, cookie(origin, sessionCookie, "", 0))
}

// SetBrowser binds logins of an origin to the browser.
func SetBrowser(w http.ResponseWriter, origin, browser string) {
	http.SetCookie(w, cookie(origin, browserCookie, browser, MaxLogin))
}

// RemoveBrowser makes the browser forget what binds logins to it.
func RemoveBrowser(w http.ResponseWriter, origin string) {
	http.SetCookie(w, cookie(origin, browserCookie, "", 0))
}

// NewBrowser returns a random value that binds logins to a browser.
func NewBrowser() string { return rand.Text() }

// ValidBrowser reports whether a value has the form of NewBrowser's.
func ValidBrowser(value string) bool {
	return len(value) == 26 && !strings.ContainsFunc(value, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '2' || r > '7')
	})
}

// Cookies are the cookies of a request that belong to this package, each as name and value, in the order in which they
// were sent.
type Cookies [][2]string

// names are the names of all cookies, at origins of any scheme.
var names = []string{hostPrefix + sessionCookie, sessionCookie, hostPrefix + browserCookie, browserCookie}

// TakeCookies removes all cookies that belong to this package from a request, so that no application sees them, and
// returns them. It returns nil if there are none.
func TakeCookies(r *http.Request) Cookies {
	for _, line := range r.Header["Cookie"] {
		if strings.Contains(line, sessionCookie) {
			return headers.TakeCookies(r.Header, names)
		}
	}
	return nil
}

// Session returns the session that the cookies hold for a scheme and a host. Of several, it is the one that was set
// last: somebody may have set another, at another host of the domain or for a longer path.
func (c Cookies) Session(k *Keys, scheme, host string) (session string, ok bool) {
	place, ok := placeOf(scheme, host)
	if !ok {
		return "", false
	}
	var newest time.Time
	tried, found, name := 0, false, CookieName(place, sessionCookie)
	for _, cookie := range c {
		if cookie[0] != name || tried == maxCookies {
			continue
		}
		tried++
		plain, _, opened := open(k.session, place, cookie[1])
		if !opened {
			continue
		}
		if at, text, timed := cutTime(plain); timed && (!found || at.After(newest)) {
			newest, session, found = at, text, true
		}
	}
	return session, found
}

// Browsers returns what binds logins of an origin to the browser.
func (c Cookies) Browsers(origin string) (values []string) {
	for _, cookie := range c {
		if cookie[0] == CookieName(origin, browserCookie) && ValidBrowser(cookie[1]) && len(values) < maxCookies {
			values = append(values, cookie[1])
		}
	}
	return values
}
