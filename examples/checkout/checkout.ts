// Selling packs of credits with Stripe Checkout: a route that opens a session, and the page that the buyer returns to.
//
// The buyer's browser and Stripe's webhook report the same payment, in either order or in the same moment. Both name the
// same session, so it is credited once: whoever comes second is `duplicate` / `already_credited`.
import type { SupabaseClient } from '@supabase/supabase-js'
import Stripe from 'stripe'
import { billing, type Database, judgeCrediting } from '../typescript/billing.js'

/** What is for sale. The database knows the same packs: billing.define_pack('starter', 100, 900, 'eur'). */
const PACKS = {
  starter: { credits: 100, amount: 900, currency: 'eur' },
  studio: { credits: 1200, amount: 9000, currency: 'eur' },
} as const

export type Shop = { stripe: Stripe; supabase: SupabaseClient<Database>; origin: string }
export type Page = { status: number; body: { [key: string]: unknown } }

const isPack = (name: string): name is keyof typeof PACKS => Object.hasOwn(PACKS, name)

/** POST /checkout: opens a session for the signed-in user. The price is ours, never the browser's. */
export async function openCheckout({ stripe, origin }: Shop, userId: string, packName: string): Promise<Page> {
  if (!isPack(packName)) return { status: 404, body: { error: 'unknown pack' } }
  const pack = PACKS[packName]
  const session = await stripe.checkout.sessions.create({
    mode: 'payment',
    line_items: [{
      quantity: 1,
      price_data: { currency: pack.currency, unit_amount: pack.amount, product_data: { name: `${pack.credits} credits` } },
    }],
    // What the webhook reads: whose it is, and what it buys.
    metadata: { user_id: userId, pack: packName },
    success_url: `${origin}/success?session_id={CHECKOUT_SESSION_ID}`,
    cancel_url: `${origin}/pricing`,
  })
  return { status: 303, body: { location: session.url } }
}

/** GET /success: credits at once what the session says was paid, so that the buyer need not wait for the webhook. */
export async function successPage({ stripe, supabase }: Shop, userId: string, sessionId: string): Promise<Page> {
  if (!/^cs_[A-Za-z0-9_]+$/.test(sessionId)) return { status: 400, body: { error: 'no session' } }
  let session: Stripe.Checkout.Session
  try {
    session = await stripe.checkout.sessions.retrieve(sessionId) // the truth, not what the browser says
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError) return { status: 404, body: { error: 'no such session' } }
    throw error
  }
  const { user_id: buyer, pack: packName = '' } = session.metadata ?? {}
  if (buyer !== userId || !isPack(packName)) return { status: 404, body: { error: 'no such session' } }
  // A bank transfer comes days later: the webhook will credit it then.
  if (session.payment_status === 'unpaid') return { status: 202, body: { state: 'payment pending' } }
  if (session.amount_subtotal !== PACKS[packName].amount || session.currency !== PACKS[packName].currency) {
    return { status: 409, body: { error: 'the price has changed; the webhook decides' } }
  }

  const outcome = judgeCrediting(await billing(supabase, 'apply_credit_purchase', {
    user_id: userId,
    credits: PACKS[packName].credits,
    idempotency_key: `checkout:${session.id}`,
    stripe_session_id: session.id, // the business fact, the same as the webhook's
    amount_minor: session.amount_total,
    currency: session.currency,
  }))
  if (outcome.kind === 'refused') return { status: 500, body: { error: outcome.detail } }
  const balance = await billing(supabase, 'credit_balance', { user_id: userId })
  return { status: 200, body: { state: 'credited', balance: balance.available } }
}
