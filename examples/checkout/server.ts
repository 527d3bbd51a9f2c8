// The two routes of checkout.ts on Node's own HTTP server. Other frameworks call the same two functions; in Next.js they
// are the bodies of two route handlers.
//
// Whoever is signed in is in the header x-user-id here, which a proxy in front must set: put your own session there.
import { createServer } from 'node:http'
import { createClient } from '@supabase/supabase-js'
import Stripe from 'stripe'
import WebSocket from 'ws'
import type { Database } from '../typescript/billing.js'
import { openCheckout, type Page, type Shop, successPage } from './checkout.js'

const setting = (name: string) => {
  const value = process.env[name]
  if (!value) throw new Error(`set ${name}`)
  return value
}

// Where Stripe's API is, if not at Stripe: for tests.
const base = process.env['STRIPE_API_BASE'] ? new URL(process.env['STRIPE_API_BASE']) : undefined
const shop: Shop = {
  stripe: new Stripe(setting('STRIPE_API_KEY'), base
    ? { host: base.hostname, port: base.port, protocol: 'http', timeout: 20_000 }
    : { timeout: 20_000 }),
  supabase: createClient<Database>(setting('SUPABASE_URL'), setting('SUPABASE_SERVICE_KEY'), {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket as never }, // wanted before Node 22, though nothing here listens
  }),
  origin: setting('ORIGIN'),
}

async function route(method: string, url: URL, user: string | undefined): Promise<Page> {
  if (!user) return { status: 401, body: { error: 'sign in' } }
  if (method === 'POST' && url.pathname === '/checkout') {
    return openCheckout(shop, user, url.searchParams.get('pack') ?? '')
  }
  if (method === 'GET' && url.pathname === '/success') {
    return successPage(shop, user, url.searchParams.get('session_id') ?? '')
  }
  return { status: 404, body: { error: 'not found' } }
}

const server = createServer((request, response) => {
  const user = request.headers['x-user-id']
  route(request.method ?? '', new URL(request.url ?? '/', shop.origin), Array.isArray(user) ? undefined : user)
    .catch((error: unknown): Page => {
      // The page can be loaded again; the webhook comes in any case.
      console.error(error instanceof Error ? error.name : 'error')
      return { status: 503, body: { error: 'try again' } }
    })
    .then(({ status, body }) => {
      const location = typeof body['location'] === 'string' ? { location: body['location'] } : {}
      response.writeHead(status, { 'content-type': 'application/json', ...location }).end(JSON.stringify(body))
    })
})
server.listen(Number(process.env['PORT'] ?? 8080), '127.0.0.1', () => {
  const address = server.address()
  console.log(`listening on ${typeof address === 'object' ? address?.port : address}`)
})
process.once('SIGTERM', () => server.close())
