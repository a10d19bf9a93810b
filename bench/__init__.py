"""The gateway beside its peers, in one run: same machine, same provider, same Redis, same upstream, one core each.

``python -m bench`` from the root of the repository. What is counted is CPU time from the kernel's accounting, of all processes of a peer:
wall-clock figures depend on who else is on the machine, CPU time hardly does.

==============  =======================================================================================================
module          what it does
==============  =======================================================================================================
``installing``  finds or installs nginx, wrk, Envoy, oauth2-proxy and mod_auth_openidc; what cannot be had is ``Missing``
``around``      the provider, Redis and the upstreams that all peers share
``peers``       a peer a file: its configuration and its command
``processes``   starts a peer on its core, ends it
``accounting``  CPU time and memory of a process and its descendants, from /proc
``signing_in``  a browser that signs in and gives the cookies
``wrk``         load for requests and bodies
``load``        idle connections, WebSockets and logins
``scenarios``   what is measured
``running``     everybody in turn, several times
``results``     measurements, medians, JSON
``table``       the Markdown table; ``chart`` the SVG
==============  =======================================================================================================
"""
