"""The data plane: moves bytes between a caller and an application, and lets none through that could be read in two ways.

Owns header hygiene, framing, upstream connections, relaying of bodies both ways, upgraded tunnels. Does not own who somebody is, which
route a request takes, or how a refusal looks: it gets identity headers ready made, and it raises ``HeadersRefused``, ``UpstreamFailed``
and ``UpstreamTimeout`` only while nothing has been sent to the caller.

::

    server -> request_headers     pure: one reading of the raw headers: what they say to us, and the lines that may pass (headers)
           -> relay.forward ─┬─ request_head              pure: those lines, and our own behind them
                             ├─ connector.Upstream        where a route leads: which address, which connection (all of them: upstreams)
                             │    ├─ balancing            pure: the least loaded address that is well
                             │    ├─ health_checks        asks an address now and then
                             │    └─ pool.Pool            the connections of one address, the queue before them, one timer for all
                             │         ├─ dialling        opens one: name, address, unix socket, TLS
                             │         └─ connection      one exchange at a time, on flow_control's transport
                             │              └─ answer_reader   pure: from bytes to the head and the body of one answer
                             │                   ├─ answer     pure: the strict reader of response heads, and their framing
                             │                   │    └─ answer_lines  pure: what each line says, judged once by llhttp
                             │                   └─ chunked    httptools: reads chunked bodies
                             ├─ request_body.send_body    the caller's body, upwards, while the answer may come down already
                             │    └─ passing_connection   lends the caller's transport to a
                             │         └─ passage         a long body of known length: from socket to socket, past aiohttp's parser
                             │              └─ splice     by the kernel alone, where both sides are plain TCP
                             ├─ answer_headers            pure: the head that the caller gets
                             ├─ downstream                the caller's connection: one write where one will do
                             ├─ delivery                  the rest of a long answer of known length, from socket to socket, by splice too
                             ├─ upgrades, websocket       pure: which upgrade passes, and whether the application really made it
                             ├─ tunnel.Tunnel             bytes both ways after a 101
                             │    └─ websocket_frames     pure: where frames end, so that a last one can be put between two
                             └─ held                      what outlives its first write, for whoever ends sessions

``headers``, ``request_headers``, ``request_head``, ``own_cookies``, ``answer``, ``answer_lines``, ``answer_reader``, ``answer_headers``,
``balancing``, ``framing``, ``upgrades``, ``upstream``, ``websocket`` and ``websocket_frames`` are pure.
"""
