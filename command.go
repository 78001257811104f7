package frappeauth

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "frappe-auth",
		Usage: "<command>",
		Short: "Explains credentials, and checks backends, of frappe_auth",
		Long: `
Tools for those who run the frappe_auth handler. They read the configuration and ask its
backends by themselves: no Caddy has to run, and a running one is not touched.`,
		CobraFunc: func(cmd *cobra.Command) {
			for _, sub := range []*cobra.Command{checkCommand(), hashCommand(), doctorCommand()} {
				sub.Args = cobra.NoArgs
				// Exit codes speak for themselves; errors are logged, as Caddy's own.
				sub.SilenceErrors, sub.SilenceUsage = true, true
				cmd.AddCommand(sub)
			}
		},
	})
}

// Exit codes, beside 1 for what is wrong with the command line or the configuration.
const (
	exitRefused   = 2
	exitNotKnown  = 3
	exitTrouble   = 2
	headerExample = "`token <api_key>:<api_secret>`, `Basic <base64>` or `Bearer <access_token>`"
)

func configFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "Configuration file (default: the Caddyfile here)")
	cmd.Flags().StringP("adapter", "a", "", "Name of the config adapter")
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check --config <file> [--adapter <name>] [--site <url>] [--url <url>]",
		Short: "Explains what becomes of a credential",
		Long: `
Reads one credential, as an Authorization header carries it, from standard input, or asks
for it without showing it, and explains step by step what every frappe_auth of the
configuration makes of it: how it was parsed, which backend said what, and why.

    printf 'token 2c6245becaa0961:61066224add85e6' | caddy frappe-auth check --config Caddyfile

--site asks that Frappe site in place of the configured backends. --url is the URL of the
request, for backends whose site_name depends on it.

Nothing is cached and nothing counted. No secret is shown; of an API key four characters.

Exit codes: 0 if every handler lets the credential pass, 2 if one refuses it, 3 if it could
not be found out, 1 if command line or configuration are wrong.`,
		RunE: caddycmd.WrapCommandFuncForCobra(cmdCheck),
	}
	configFlags(cmd)
	cmd.Flags().String("site", "", "URL of a Frappe site to ask in place of the configured backends")
	cmd.Flags().String("url", "", "URL of the request")
	return cmd
}

func hashCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hash --user <user> [--role <role>]... [--algorithm <name>]",
		Short: "Makes a line for the static backend",
		Long: `
Reads one credential, as an Authorization header carries it, from standard input, or asks
for it without showing it, and writes the line that makes it known to the static backend:

    printf 'token 2c6245becaa0961:61066224add85e6' | caddy frappe-auth hash --user alice@example.com

--algorithm is sha256, bcrypt or argon2id. SHA-256 is enough for what Frappe makes, which is
random; give a secret that a human made up to bcrypt or argon2id. Access tokens are always
hashed with SHA-256.`,
		RunE: caddycmd.WrapCommandFuncForCobra(cmdHash),
	}
	cmd.Flags().StringP("user", "u", "", "User whose credential it is, as Frappe spells it (required)")
	cmd.Flags().StringArrayP("role", "r", nil, "A role of the user; repeat for more")
	cmd.Flags().String("algorithm", "sha256", "Hash of an API secret: sha256, bcrypt or argon2id")
	return cmd
}

func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor --config <file> [--adapter <name>]",
		Short: "Checks the backends",
		Long: `
Checks every backend of the configuration: whether it can be reached and is what it should
be, the version of Frappe, the site's name, what the database's user may read, the time
zone, the clocks. Writes a table.

Exit codes: 0 if all is well, 2 if a check found trouble, 1 if command line or configuration
are wrong. Warnings are no trouble.`,
		RunE: caddycmd.WrapCommandFuncForCobra(cmdDoctor),
	}
	configFlags(cmd)
	return cmd
}

// configured is a frappe_auth of the configuration.
type configured struct {
	where string
	*Verification
}

// loadConfigured loads the handlers and providers of a configuration by themselves, without the servers they are in.
// unload must be called, if there is no error.
func loadConfigured(fl caddycmd.Flags, adjust func(handler map[string]any)) (found []configured, unload func(), err error) {
	// Caddy's logs would only stand between the lines; what matters is said.
	quiet := &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}}
	provisioned, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}, Logging: quiet})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := caddy.NewContext(provisioned)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	raw, file, _, err := caddycmd.LoadConfig(fl.String("config"), fl.String("adapter"))
	switch {
	case err != nil:
		return nil, nil, err
	case raw == nil:
		return nil, nil, errors.New("no configuration: name its file with --config")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var config map[string]any
	if err := decoder.Decode(&config); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	apps, _ := config["apps"].(map[string]any)
	for _, part := range findHandlers(apps["http"]) {
		if adjust != nil {
			adjust(part.json)
		}
		raw, err := json.Marshal(part.json)
		if err != nil {
			return nil, nil, err
		}
		module, err := ctx.LoadModuleByID(part.module, raw)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %s: %w", file, part.where(), err)
		}
		c := configured{where: part.where()}
		switch module := module.(type) {
		case *Handler:
			c.Verification = &module.Verification
		case *Provider:
			c.Verification = &module.Verification
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("%s has no frappe_auth", file)
	}
	return found, cancel, nil
}

// configPart is a handler or provider in the JSON of a configuration, with what is said of the requests that reach it.
type configPart struct {
	module              string
	json                map[string]any
	listen, hosts, path []string
}

// where names the requests that reach the handler.
func (p configPart) where() string {
	names := p.hosts
	if len(names) == 0 {
		names = []string{""}
	}
	all := make([]string, 0, len(names)*len(p.listen))
	for _, name := range names {
		for _, listen := range p.listen {
			if listen == ":443" || listen == ":80" {
				listen = ""
			}
			all = append(all, strings.TrimSuffix(name+listen, ":"))
		}
	}
	text := strings.Join(all, ", ")
	if text == "" {
		text = "every host"
	}
	if len(p.path) > 0 {
		text += " " + strings.Join(p.path, " ")
	}
	return text
}

// findHandlers finds the handlers and providers in a part of the configuration, in the order of the file as far as JSON
// keeps it.
func findHandlers(part any) (seen []configPart) {
	var walk func(part any, at configPart)
	walk = func(part any, at configPart) {
		switch part := part.(type) {
		case []any:
			for _, element := range part {
				walk(element, at)
			}
		case map[string]any:
			at.read(part)
			if part["handler"] == "frappe_auth" {
				at.module, at.json = "http.handlers.frappe_auth", part
				delete(part, "handler")
				seen = append(seen, at)
				return
			}
			if providers, ok := part["providers"].(map[string]any); ok && part["handler"] == "authentication" {
				if provider, ok := providers["frappe"].(map[string]any); ok {
					at.module, at.json = "http.authentication.providers.frappe", provider
					seen = append(seen, at)
				}
				return
			}
			for _, key := range slices.Sorted(maps.Keys(part)) {
				walk(part[key], at)
			}
		}
	}
	walk(part, configPart{})
	return seen
}

// read takes in what an object of the configuration says of the requests that reach what is in it.
func (p *configPart) read(object map[string]any) {
	texts := func(value any) (all []string) {
		list, _ := value.([]any)
		for _, element := range list {
			if text, ok := element.(string); ok {
				all = append(all, text)
			}
		}
		return all
	}
	if listen := texts(object["listen"]); listen != nil {
		p.listen = listen
	}
	sets, _ := object["match"].([]any)
	for _, set := range sets {
		matchers, _ := set.(map[string]any)
		if hosts := texts(matchers["host"]); hosts != nil {
			p.hosts = hosts
		}
		if path := texts(matchers["path"]); path != nil {
			p.path = path
		}
	}
}

func cmdCheck(fl caddycmd.Flags) (int, error) {
	var adjust func(map[string]any)
	if site := fl.String("site"); site != "" {
		adjust = func(handler map[string]any) {
			_, roles := handler["require"]
			handler["backends"] = []any{map[string]any{"backend": "site", "urls": []string{site}, "roles": roles}}
		}
	}
	repl, err := replacerFor(fl.String("url"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, errors.New("--url: write the URL of a request, such as https://files.example.com/")
	}
	handlers, unload, err := loadConfigured(fl, adjust)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer unload()
	header, err := readCredential(os.Stdin, os.Stderr)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return explain(os.Stdout, handlers, repl, header), nil
}

// readCredential reads a credential from a file, or asks for it where a human is to type it in.
func readCredential(in, questions *os.File) (string, error) {
	var (
		line []byte
		err  error
	)
	if fd := int(in.Fd()); term.IsTerminal(fd) {
		fmt.Fprintln(questions, "The credential as an Authorization header carries it, "+headerExample+":")
		line, err = readHidden(fd)
	} else {
		line, err = bufio.NewReader(io.LimitReader(in, maxHeaderSize+2)).ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("reading the credential: %w", err)
	}
	header := strings.TrimPrefix(withoutLineEnd(line), "Authorization: ")
	if header == "" {
		return "", errors.New("no credential on standard input; write it as " + headerExample)
	}
	return header, nil
}

// readHidden reads a line that is not shown, and leaves the terminal as it was also when interrupted.
func readHidden(fd int) ([]byte, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	defer signal.Stop(interrupted)
	go func() {
		<-interrupted
		_ = term.Restore(fd, before)
		os.Exit(caddy.ExitCodeFailedStartup)
	}()
	return term.ReadPassword(fd)
}

// explain writes step by step what becomes of a credential, and returns the exit code.
func explain(w io.Writer, handlers []configured, repl *caddy.Replacer, header string) (code int) {
	fmt.Fprintln(w, "Credential")
	cred, err := ParseCredential(header)
	if err != nil {
		fmt.Fprintf(w, "  malformed: %v\n\nEvery handler answers 401, and no backend is asked.\n", err)
		return exitRefused
	}
	describe(w, cred)
	for _, c := range handlers {
		fmt.Fprintf(w, "\nHandler %s\n", c.where)
		code = max(code, c.explain(w, repl, cred))
	}
	return code
}

// describe writes what was parsed, and what is odd about it.
func describe(w io.Writer, cred Credential) {
	fmt.Fprintf(w, "  scheme      %s\n", cred.Scheme)
	if cred.Bearer() {
		fmt.Fprintf(w, "  token       %d characters\n", len(cred.Token))
		if strings.Count(cred.Token, ".") == 2 {
			fmt.Fprintln(w, "              Three parts with dots between them may be a JWT; Frappe accepts one only with auth_hooks of an app.")
		}
		return
	}
	fmt.Fprintf(w, "  API key     %s, %d characters\n", cred.keyPrefix(), len(cred.Key))
	fmt.Fprintf(w, "  API secret  %d characters\n", len(cred.Secret))
	for _, part := range []struct{ name, text string }{{"key", cred.Key}, {"secret", cred.Secret}} {
		if _, err := hex.DecodeString(part.text + "0"); err != nil || len(part.text) != frappeHash {
			fmt.Fprintf(w, "              Frappe makes an API %s of %d hexadecimal digits; was this one copied whole, and nothing with it?\n", part.name, frappeHash)
		}
	}
}

// frappeHash is how long the keys and secrets are that Frappe makes (generate_hash, User.generate_keys).
const frappeHash = 15

// explain writes what one handler makes of a credential, without its cache.
func (c configured) explain(w io.Writer, repl *caddy.Replacer, cred Credential) int {
	if c.challenges[cred.Scheme.index()] == "" {
		fmt.Fprintf(w, "  %v; accepted: %s\n  It answers 401, and no backend is asked.\n", errNotAccepted, join(c.Schemes))
		return exitRefused
	}
	sites, err := c.verifier.sites(repl)
	if err != nil {
		fmt.Fprintf(w, "  The site depends on the request, and --url names none.\n  It answers 400.\n")
		return exitRefused
	}
	g, err := c.ask(w, sites, cred)
	switch {
	case errors.Is(err, ErrDenied):
		fmt.Fprintln(w, "  It answers 401.")
		return exitRefused
	case err != nil:
		fmt.Fprintln(w, "  It answers 503: no backend granted, and one could not find out.")
		return exitNotKnown
	}
	for _, required := range c.Require {
		met := "met"
		if !required.metBy(g) {
			met = "not met"
		}
		fmt.Fprintf(w, "  requires %s: %s\n", required, met)
	}
	if !c.meetsRequirements(g) {
		fmt.Fprintf(w, "  It answers %d: %v.\n", http.StatusForbidden, errForbidden)
		return exitRefused
	}
	fmt.Fprintf(w, "  It lets the request pass, as %s.\n", g.user)
	return 0
}

// ask asks the backends in order, as the verifier does, and writes what each says.
func (c configured) ask(w io.Writer, sites []string, cred Credential) (*grant, error) {
	err := ErrDenied
	for i, b := range c.verifier.backends {
		cred.Site = siteOf(sites, i)
		fmt.Fprintf(w, "  %d. %s", i+1, b.name)
		if source := b.source(); source != "" {
			fmt.Fprintf(w, ": %s", source)
		}
		if cred.Site != "" {
			fmt.Fprintf(w, ", site %s", cred.Site)
		}
		fmt.Fprintln(w)
		asked := time.Now()
		id, said := c.verifier.call(b, cred, nil)
		took := time.Since(asked).Round(10 * time.Microsecond)
		switch {
		case said == nil:
			fmt.Fprintf(w, "     granted in %s: %s\n", took, id.User)
			describeIdentity(w, id)
			return c.verifier.newGrant(&lookup{cred: cred}, id, c.verifier.state.guards[i]), nil
		case errors.Is(said, ErrDenied):
			fmt.Fprintf(w, "     denied in %s: %s\n", took, whyDenied(cred))
		default:
			fmt.Fprintf(w, "     not known after %s: %v\n", took, said)
			err = said
		}
	}
	return nil, err
}

func describeIdentity(w io.Writer, id Identity) {
	for _, line := range []struct{ name, text string }{
		{"full name", id.FullName},
		{"roles", strings.Join(id.Roles, ", ")},
		{"scopes", strings.Join(id.Scopes, " ")},
	} {
		if line.text != "" {
			fmt.Fprintf(w, "     %s: %s\n", line.name, line.text)
		}
	}
	if !id.Expiry.IsZero() {
		fmt.Fprintf(w, "     expires: %s\n", id.Expiry.UTC().Format(time.RFC3339))
	}
}

// whyDenied lists the causes, of which a backend does not tell one from another.
func whyDenied(cred Credential) string {
	if cred.Bearer() {
		return "the token is unknown, expired or revoked, its scopes are not its client's, or the user is disabled"
	}
	return "the API key is unknown, the secret is another, or the user is disabled"
}

// String names who meets the requirement.
func (r Requirement) String() string {
	parts := make([]string, 0, len(r.Roles)+len(r.Users))
	for _, role := range r.Roles {
		parts = append(parts, "role "+role)
	}
	for _, user := range r.Users {
		parts = append(parts, "user "+user)
	}
	return strings.Join(parts, " or ")
}

func join(schemes []Scheme) string {
	names := make([]string, len(schemes))
	for i, scheme := range schemes {
		names[i] = string(scheme)
	}
	return strings.Join(names, ", ")
}

func cmdHash(fl caddycmd.Flags) (int, error) {
	user := fl.String("user")
	if err := checkUser(user); err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("--user: %w", err)
	}
	roles, err := fl.GetStringArray("role")
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	header, err := readCredential(os.Stdin, os.Stderr)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	cred, err := ParseCredential(header)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("%w; write it as %s", err, headerExample)
	}
	hash, err := hashOf(cred, fl.String("algorithm"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	words := slices.Concat([]string{"bearer", hash, user}, roles)
	if !cred.Bearer() {
		words = slices.Concat([]string{"token", cred.Key, hash, user}, roles)
	}
	for i, word := range words {
		if words[i], err = caddyfileWord(word); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
	}
	fmt.Println(strings.Join(words, " "))
	return 0, nil
}

// hashOf is the hash of a credential's secret part as the static backend takes it.
func hashOf(cred Credential, algorithm string) (string, error) {
	digest := func(secret string) string {
		sum := sha256.Sum256([]byte(secret))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	if cred.Bearer() {
		if algorithm != "sha256" {
			return "", errors.New("--algorithm: access tokens are hashed with sha256")
		}
		return digest(cred.Token), nil
	}
	switch algorithm {
	case "sha256":
		return digest(cred.Secret), nil
	case "bcrypt":
		if bcryptAmbiguous([]byte(cred.Secret)) {
			return "", errors.New("--algorithm: bcrypt reads 72 bytes of a secret at most; use argon2id")
		}
		hash, err := caddyauth.BcryptHash{}.Hash([]byte(cred.Secret))
		return string(hash), err
	case "argon2id":
		// Its parameters can only be set by a hash that has them: those of `caddy hash-password`.
		salt := base64.RawStdEncoding.EncodeToString([]byte(rand.Text())[:16])
		like, _, err := caddyauth.DecodeHash([]byte("$argon2id$v=19$m=47104,t=1,p=1$" + salt + "$" + strings.Repeat("A", 43)))
		if err != nil {
			return "", err
		}
		hash, err := like.Hash([]byte(cred.Secret))
		return string(hash), err
	}
	return "", fmt.Errorf("--algorithm: %q is none of sha256, bcrypt and argon2id", algorithm)
}

// caddyfileWord is a text as one token of a Caddyfile.
func caddyfileWord(text string) (string, error) {
	switch {
	case text == "", strings.ContainsAny(text, "{}\\\n\r"):
		return "", fmt.Errorf("%q cannot stand in a Caddyfile as it is: give it as a placeholder", text)
	case strings.ContainsAny(text, " \t\"`#"):
		return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`, nil
	}
	return text, nil
}
