// The certified OpenID provider with its own login and consent pages, for the journeys.
//
//   node provider.mjs < nothing; settings come as JSON in the environment variable PROVIDER_SETTINGS:
//     { "port": 0, "client_id": "...", "client_secret": "...", "redirect_uris": [...], "post_logout_redirect_uris": [...],
//       "access_token_seconds": 3600 }
//
// Port 0 takes a free one. The line "ready <issuer>" on standard output says where it listens; it never listens beyond loopback.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const settings = JSON.parse(process.env.PROVIDER_SETTINGS);

const people = {
  alice: { name: 'Alice Example', preferred_username: 'alice', email: 'alice@example.org', email_verified: true, groups: ['staff', 'admins'] },
  bob: { name: 'Bob Example', preferred_username: 'bob', email: 'bob@example.org', email_verified: true, groups: ['staff'] },
};

const signingKey = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' };

const configuration = {
  clients: [{
    client_id: settings.client_id,
    client_secret: settings.client_secret,
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: settings.redirect_uris,
    post_logout_redirect_uris: settings.post_logout_redirect_uris,
  }],
  async findAccount(_ctx, sub) {
    if (!Object.hasOwn(people, sub)) return undefined;
    return { accountId: sub, claims: async () => ({ sub, ...people[sub] }) };
  },
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username', 'groups'],
  },
  conformIdTokenClaims: false, // the claims of the scopes stand in the id_token, not in userinfo alone
  pkce: { required: () => true },
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true, // and whoever comes with an old one ends the grant
  ttl: { AccessToken: settings.access_token_seconds },
  features: {
    devInteractions: { enabled: true }, // its own pages: a login form, then a consent form
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  jwks: { keys: [signingKey] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
};

const server = createServer();
server.listen(settings.port, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  provider.on('server_error', (_ctx, error) => console.error(error.stack));
  server.on('request', provider.callback());
  console.log(`ready ${issuer}`);
});
