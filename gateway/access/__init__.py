"""Our rules: what a request asks for, which route takes it, who may have it. Nothing here waits, sends or reads a clock.

A request is read once (``target``), belongs to an origin of ours (``origins``) and a route (``routes``), and is judged (``decision``).
``readings`` holds the other paths that an upstream could see in the same bytes, so that the judgement holds for each of them.
``caller`` tells people who can be sent to sign in from programs that cannot, ``return_to`` says where a sign-in may come back to,
``identity_headers`` writes the claims that an app gets, and ``forwarded`` reads and writes what proxies say about a request.
"""
