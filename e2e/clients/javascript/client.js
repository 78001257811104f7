// Asks the address in the first argument with axios and frappe-js-sdk, and each of the credentials behind it, which are a
// scheme and a value each. Prints one JSON object: for each client and credential, what a program gets or is told.

import axios from "axios";
import { FrappeApp } from "frappe-js-sdk";

const [url, ...credentials] = process.argv.slice(2);
const said = { axios: [], "frappe-js-sdk": [] };

for (const credential of credentials) {
	const [scheme, value] = credential.split(" ");
	try {
		const response = await axios.get(url + "/api/method/frappe.auth.get_logged_user", { headers: { Authorization: credential } });
		said.axios.push(`${response.status} ${response.data.message}`);
	} catch (error) {
		said.axios.push(`${error.message}: ${error.response?.data.exception}`);
	}
	try {
		const app = new FrappeApp(url, { useToken: true, token: () => value, type: scheme });
		said["frappe-js-sdk"].push("200 " + (await app.auth().getLoggedInUser()));
	} catch (error) {
		said["frappe-js-sdk"].push(`${error.httpStatus} ${error.httpStatusText}: ${error.exception}`);
	}
}
console.log(JSON.stringify(said));
