// Connects the client of the official MCP SDK to the server in the first argument, and calls its tool `hello`. Every host is the
// port of this machine in the second argument. The third is the redirect URI of the client. With `no-refresh` as the fourth,
// it keeps no refresh token. The fifth is its id; without one, it registers itself. The sixth is an access token that it already
// has. Prints one JSON object: what the tool said or the error, the scopes that the client asked its user for, and the requests.

import https from "node:https";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [server, port, redirectUrl, keeps, id, token] = process.argv.slice(2);
const said = { said: "", error: "", scopes: [], requests: [] };

// send is fetch without the DNS.
function send(url, { method = "GET", headers, body, signal } = {}) {
	const { hostname, pathname, search } = new URL(url);
	const options = { host: "127.0.0.1", port, servername: hostname, method, path: pathname + search, signal };
	options.headers = { ...Object.fromEntries(new Headers(headers)), host: hostname };
	if (body instanceof URLSearchParams) {
		options.headers["content-type"] ??= "application/x-www-form-urlencoded";
	}
	return new Promise((resolve, reject) => {
		const request = https.request(options, answer => {
			said.requests.push(`${method} ${hostname}${pathname} ${answer.statusCode}`);
			const fields = new Headers();
			for (let i = 0; i < answer.rawHeaders.length; i += 2) {
				fields.append(answer.rawHeaders[i], answer.rawHeaders[i + 1]);
			}
			const stream = [204, 304].includes(answer.statusCode) ? null : new ReadableStream({
				start(controller) {
					answer.on("data", chunk => controller.enqueue(new Uint8Array(chunk)));
					answer.on("end", () => controller.close());
					answer.on("error", error => controller.error(error));
				},
				cancel() {
					answer.destroy();
				},
			});
			resolve(new Response(stream, { status: answer.statusCode, headers: fields }));
		});
		request.on("error", reject);
		request.end(body?.toString());
	});
}

// asUser logs in to the ERP and follows the authorization until the client has its code.
async function asUser(at) {
	const login = await send(new URL("/login", at), { method: "POST", body: new URLSearchParams({ cmd: "login", usr: "alice@example.com", pwd: "alices-password" }) });
	const cookie = login.headers.getSetCookie().map(line => line.split(";")[0]).join("; ");
	for (let i = 0; i < 10; i++) {
		if (String(at).startsWith(redirectUrl)) {
			return new URL(at).searchParams.get("code");
		}
		const answer = await send(at, { headers: { cookie } });
		at = new URL(answer.headers.get("location"), at);
	}
	throw new Error("too many redirects");
}

let verifier, code;
let information = id && { client_id: id };
let tokens = token && { access_token: token, token_type: "Bearer" };
const provider = {
	redirectUrl,
	clientMetadata: { client_name: "assistant", redirect_uris: [redirectUrl] },
	clientInformation: () => information,
	saveClientInformation: given => { information = given },
	tokens: () => tokens,
	saveTokens: given => {
		tokens = { ...given };
		if (keeps == "no-refresh") {
			delete tokens.refresh_token;
		}
	},
	saveCodeVerifier: given => { verifier = given },
	codeVerifier: () => verifier,
	redirectToAuthorization: async url => {
		said.scopes.push(url.searchParams.get("scope"));
		code = await asUser(url);
	},
};

// The SDK ends a request that its user has to authorize. The client then finishes the authorization, and tries again.
async function call() {
	const client = new Client({ name: "assistant", version: "1" });
	const transport = new StreamableHTTPClientTransport(new URL(server), { authProvider: provider, fetch: send });
	try {
		await client.connect(transport);
		const result = await client.callTool({ name: "hello" });
		return result.content[0].text;
	} catch (error) {
		if (!(error instanceof UnauthorizedError)) {
			throw error;
		}
		await transport.finishAuth(code);
	} finally {
		await client.close();
	}
}

try {
	for (let i = 0; i < 5 && !said.said; i++) {
		said.said = await call() ?? "";
	}
} catch (error) {
	said.error = `${error.code} ${error.message}`;
}
console.log(JSON.stringify(said));
process.exit();
