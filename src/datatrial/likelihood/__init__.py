"""Log-likelihoods of many continuations, where each distinct token prefix goes through the model once.

requests → trie: sorted, so that equal prefixes lie beside each other
         → layout: the trie cut into rows and passes, long shared prefixes apart
         → decoder: one forward pass over rows in which a token sees its ancestors only
         → scorer: log-likelihoods in the order of the requests
"""
