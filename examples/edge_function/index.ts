// Forwards webhooks of Stripe and Paystack to billing_rpc behind a gateway that wants an `apikey` header, as hosted
// Supabase has. Deploy with JWT verification off, since providers send no token:
//
//   supabase functions deploy billing-webhook --no-verify-jwt
//
// The endpoints are then .../functions/v1/billing-webhook/stripe and .../billing-webhook/paystack. Nothing is checked
// here: the database checks the signature over the very bytes that came, and its status goes back to the provider.

const PROVIDERS = {
  stripe: { rpc: 'stripe_webhook', header: 'stripe-signature' },
  paystack: { rpc: 'paystack_webhook', header: 'x-paystack-signature' },
} as const

// The database's own limit (billing_rpc.max_payload_bytes) is what counts; this only spares it the work.
const MAX_BODY_BYTES = 1024 * 1024
// Providers give up after about 20 seconds and deliver again.
const TIMEOUT_MILLISECONDS = Number(Deno.env.get('BILLING_TIMEOUT_MS') ?? 15_000)

const BASE = setting('SUPABASE_URL')
const KEY = setting('SUPABASE_ANON_KEY')

function setting(name: string): string {
  const value = Deno.env.get(name)
  if (!value) throw new Error(`${name} is not set`)
  return value
}

function providerOf(url: string): keyof typeof PROVIDERS | undefined {
  const last = new URL(url).pathname.split('/').filter(Boolean).pop() ?? ''
  return Object.hasOwn(PROVIDERS, last) ? (last as keyof typeof PROVIDERS) : undefined
}

function refuse(status: number, message: string): Response {
  return Response.json({ message }, { status })
}

async function forward(request: Request): Promise<Response> {
  const name = providerOf(request.url)
  if (!name) return refuse(404, 'the path ends with stripe or paystack')
  if (request.method !== 'POST') return refuse(405, 'POST only')
  const provider = PROVIDERS[name]

  const body = await request.arrayBuffer() // bytes, never text: decoding and encoding again could change them
  if (body.byteLength > MAX_BODY_BYTES) return refuse(413, 'too large')

  const headers = new Headers({ apikey: KEY, 'content-type': 'application/json' })
  // The older keys are tokens and say who calls; a publishable key (sb_publishable_...) is no token.
  if (KEY.startsWith('eyJ')) headers.set('authorization', `Bearer ${KEY}`)
  const signature = request.headers.get(provider.header)
  if (signature !== null) headers.set(provider.header, signature)

  try {
    const answer = await fetch(`${BASE}/rest/v1/rpc/${provider.rpc}`, {
      method: 'POST', headers, body, redirect: 'manual', signal: AbortSignal.timeout(TIMEOUT_MILLISECONDS),
    })
    // Read here, so that a connection lost half way is no success either.
    const text = await answer.text()
    if (!answer.ok) console.warn(`${name}: HTTP ${answer.status}`)
    return new Response(text, {
      status: answer.status, headers: { 'content-type': answer.headers.get('content-type') ?? 'application/json' },
    })
  } catch (error) {
    // Whether the database has it is not known. The provider delivers again, and hears replay if it has.
    const timeout = error instanceof DOMException && error.name === 'TimeoutError'
    console.warn(`${name}: ${timeout ? 'no answer in time' : 'no connection'}`)
    return refuse(timeout ? 504 : 502, 'no answer from the database; deliver again')
  }
}

Deno.serve(forward)
