// A backend that sells pictures for credits, by supabase-js.
//
//   node shop.js buy USER ORDER PAYMENT     100 credits for 9.00 EUR that were paid as PAYMENT (stripe:pi_...)
//   node shop.js picture USER PICTURE       makes a picture for 30 credits
//   node shop.js film USER FILM SECONDS     a job whose cost is known only when it is done: at most 100 credits
//   node shop.js show USER                  the balance and the last entries
//
// SUPABASE_URL and SUPABASE_SERVICE_KEY say where, and as whom: a role that has billing_service. Never in a browser.
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { billing, BillingError, type Database, judgeCrediting, judgeSpending } from './billing.js'

const setting = (name: string) => {
  const value = process.env[name]
  if (!value) throw new Error(`set ${name}`)
  return value
}

const supabase = createClient<Database>(setting('SUPABASE_URL'), setting('SUPABASE_SERVICE_KEY'), {
  auth: { persistSession: false, autoRefreshToken: false },
  // Nothing here listens to anything, but before Node 22 supabase-js asks for a WebSocket all the same.
  realtime: { transport: WebSocket as never },
})

// The key of every call is the fact that it stands for, so that whoever repeats it repeats the same request.

async function buy(user: string, order: string, payment: string) {
  return judgeCrediting(await billing(supabase, 'apply_credit_purchase', {
    user_id: user, credits: 100, idempotency_key: `order:${order}`,
    amount_minor: 900, currency: 'eur', source_ref: payment, metadata: { order },
  }))
}

async function picture(user: string, id: string) {
  return judgeSpending(await billing(supabase, 'spend_credits', {
    user_id: user, credits: 30, idempotency_key: `picture:${id}`,
  }))
}

async function film(user: string, id: string, seconds: number) {
  const hold = await billing(supabase, 'hold_credits', {
    user_id: user, credits: 100, idempotency_key: `film:${id}`, ttl_seconds: 3600,
  })
  if (hold.hold_id === null || hold.status !== 'open') return { kind: 'refused', detail: hold.detail ?? hold.status }
  // ... the work is done here; if it fails: billing(supabase, 'release_hold', { hold_id: hold.hold_id })
  const captured = await billing(supabase, 'capture_hold', { hold_id: hold.hold_id, credits: seconds })
  return captured.reason === 'applied' || captured.reason === 'replay'
    ? { kind: 'spent', credits: captured.captured_credits, available: captured.available }
    : { kind: 'refused', detail: captured.detail }
}

async function show(user: string) {
  // A plain client.rpc call: one row is an object, a list is an array. Functions that only read answer to GET.
  const balance = await supabase.rpc('credit_balance', { user_id: user }, { get: true })
  if (balance.error) throw new BillingError(balance.error.code, balance.status, balance.error.message)
  const history = await billing(supabase, 'credit_history', { user_id: user, max_rows: 10 })
  return { ...balance.data, entries: history.map((entry) => [entry.kind, entry.credits, entry.balance]) }
}

async function main([command, user = '', ...more]: string[]) {
  switch (command) {
    case 'buy': return buy(user, more[0] ?? '', more[1] ?? '')
    case 'picture': return picture(user, more[0] ?? '')
    case 'film': return film(user, more[0] ?? '', Number(more[1]))
    case 'show': return show(user)
    default: throw new Error('buy, picture, film or show')
  }
}

main(process.argv.slice(2)).then(
  (answer) => console.log(JSON.stringify(answer)),
  (error) => {
    console.error(error instanceof BillingError ? `no answer: ${error.code} ${error.message}` : String(error))
    process.exitCode = 1
  },
)
