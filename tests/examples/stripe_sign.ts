// Signs bodies as Stripe does, with Stripe's own library: JSON lines {payload, secret, timestamp} in, headers out.
import { createInterface } from 'node:readline'
import Stripe from 'stripe'

for await (const line of createInterface({ input: process.stdin })) {
  console.log(Stripe.webhooks.generateTestHeaderString(JSON.parse(line)))
}
