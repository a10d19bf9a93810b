"""What a session is: the sealed cookie, the record, the login in flight, lifetimes; ``store`` alone talks to Redis or memory.

Owns: ``sealing`` (bytes that nobody else can read or change), ``cookies`` (raw Cookie lines in, Set-Cookie values out), ``login`` (the
login in flight, kept in its own cookie), ``record`` and ``token_record`` (what a session holds, as bytes), ``lifecycle`` (when it ends),
``sessions`` (find, begin, end), ``finding`` (by the process's own copy or by one read), ``cache`` (copies, kept true by the store's word),
``notes`` (of use, beside the requests), ``sign_out_return`` (the way back from the provider). Owns not: how people sign in (``oidc``),
what they may see (``access``), who asks (``server``).

Answers invariants 5 to 7, 11 and 12: a session is born from verified claims alone under a new id, its old cookie never opens it again, a
dump of the store opens nothing, and a cookie without the store opens nothing.
"""
