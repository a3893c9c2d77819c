"""Who is told what: alerts grouped, routed, limited and repeated until someone acknowledges them."""
